"""What the library is compared with: programs of ours for other libraries, written from their public documentation.

Each module but the private ones is one program for one peer. It runs in a process of its own, as its peer is meant to be used in the
setting that its documentation calls fast, and prints how long the work took; what it costs to start it is not counted.
`python -m benchmarks.peers.install` brings the peers; one that is not there is named and left out.
"""
