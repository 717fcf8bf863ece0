# A user's image with MPICH and one program, mpi-hello. Nothing of Slurm is in
# it: the ranks find each other through the PMI-2 server of their step.
ARG SUITE=trixie
FROM debian:${SUITE} AS build
RUN echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/99oarlock \
 && apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        gcc libc6-dev libmpich-dev
COPY mpi-hello.c /
RUN mpicc.mpich -O2 -o /mpi-hello /mpi-hello.c

ARG SUITE=trixie
FROM debian:${SUITE}
RUN echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/99oarlock \
 && apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        python3-minimal mpich \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build /mpi-hello /usr/bin/mpi-hello
# The demo and the tests read this name to tell the image from the node.
RUN echo mpich >/etc/oarlock-image
