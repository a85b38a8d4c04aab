"""The store: content-addressed, immutable realizations on a disk or in a bucket. Architecture: README, "The store".

Modules, from the ground up:
    objects        what an object store must offer, and its errors; `connect` picks one by URI
    filesystem     file://
    gcs            gs://
    s3             s3://, what its refusals mean (s3errors), and whether the server keeps conditional writes (races)
    derivations    what was asked for, and its key
    realizations   what was made of it: payload, manifest, verification
    outages        waiting for a store that can't be reached, and writing only under a lease
    leases         one writer a realization
    attempts       the event log of every attempt
    staging        many files between the store and local disk, in parallel
    mirrors        copies of files from outside, for pods
    references     named experiments, the roots of garbage collection
    garbage        what nothing refers to
"""
