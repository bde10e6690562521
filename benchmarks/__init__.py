"""The figures: mesh beside a floor and its peers, in one interleaved run."""
