"""The domain's certificate: ordered, judged, served, renewed in time. Pure rules, and the keeper that follows them."""
