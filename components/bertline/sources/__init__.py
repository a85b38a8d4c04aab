"""Files that come from outside: on a disk, on the web, in a bucket. They are identified by checksum."""
