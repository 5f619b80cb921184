"""One external system each: supervisord, the services' HTTP ports, Docker, NATS, the process table."""
