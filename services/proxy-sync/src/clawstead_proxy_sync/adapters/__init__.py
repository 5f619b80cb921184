"""The outside world: nginx, its processes, and the certificate authority."""
