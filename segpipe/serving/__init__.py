"""Answers scans over HTTP: uploads, a bounded queue, one process with the network, and the rules of who may ask."""
