"""Pull requests and merge requests over the network, each host with its own interface."""
