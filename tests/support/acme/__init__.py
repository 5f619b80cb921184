"""A real ACME server and the DNS that it asks, both Debian's pebble, and what certbot's plugins write to."""
