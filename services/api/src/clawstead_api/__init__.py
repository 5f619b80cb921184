"""HTTP gateway: accounts and the desired state of every instance."""
