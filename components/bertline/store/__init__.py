"""The store: content-addressed, immutable realizations on a disk or in a bucket. Architecture: README, "The store".

Modules, from the ground up:
    objects        the operations of an object store, and its errors
    filesystem     file://
    gcs            gs://
    s3             s3://, its error messages (s3_errors), and a test of the server's conditional writes (races)
    derivations    the request for a result, and its key
    realizations   the result: payload, manifest, verification
    outages        waiting for a store that can't be reached, and writing only under a lease
    leases         one writer for each realization
    attempts       the event log of every attempt
    staging        many files between the store and local disk, in parallel
    mirrors        copies of files from outside, for pods
    references     named experiments, the roots of garbage collection
    garbage        objects that nothing refers to
"""
