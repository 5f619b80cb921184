"""The HTTP surface: each route reads the request, delegates to a handler, and shapes the answer."""
