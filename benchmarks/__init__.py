"""pybuild side by side with the builders that are installed: how long a build takes, and how much memory.

    python -m benchmarks                            everything, three runs each
    python -m benchmarks httpserver --runs 9        one workload
    python -m benchmarks --json FILE                every single measurement, too

Workloads, each on a base of busybox that a registry of the benchmark's own serves, and that every builder has pulled before:

    httpserver   the tour's image: ENV, ADD of a program of 2 KB, ENTRYPOINT
    files        COPY of 20,000 files of 4,000 bytes, 80 MB, in 200 folders
    gigabyte     COPY of one file of 1 GiB; like the files, half of it random and half of it text
    runs         20 RUN steps that each write a file
    stages       three stages that sleep 2 s, and a COPY from each

What is measured, in seconds, as a user would type it:

    cold         a build in a storage that holds the base image alone
    unchanged    the same build once more
    changed      and once more, after one file of the context, or one RUN, has been changed
    push         a build in a storage that holds the base image alone, and the push to an empty repository

Builders take turns, run by run, and what a run left to write is written before the next one starts. A table has medians over the
runs; the ratio is pybuild's median by the other's, so that less than 1 is faster. Memory is the largest resident set that any
process of the builder had, of a BuildKit that of its daemon; the files' contents in the page cache are in neither.

The builders: pybuild, beside the Python that runs this; buildah, as root, with `--isolation chroot --layers` on overlay where
that works and on vfs elsewhere; and BuildKit when `buildctl` and `buildkitd` are on PATH, its daemon hot. The registry is
Debian's docker-registry.

Everything lies in one temporary folder ($TMPDIR says where; 8 GB at most) that is removed at the end, whatever happens. buildah
also remembers in /var/lib/containers what it has pushed, which no flag moves: therefore the benchmark runs in a mount namespace
of its own, where that is a folder of the temporary one. It does not try builders that are not installed, and changes no limits.
"""
