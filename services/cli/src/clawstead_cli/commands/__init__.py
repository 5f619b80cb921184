"""One module per verb: read the options, call, print."""
