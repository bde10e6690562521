"""`mesh dashboard`: a web page over what the collector answers."""
