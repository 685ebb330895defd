#!/bin/sh
# Compile tools/launch.c for each machine into builder/sandbox/*.elf, which are kept in the repository and shipped. Takes Debian's
# gcc and gcc-aarch64-linux-gnu. Done when the source changes; a test runs what is shipped.
set -eu
here=$(dirname "$0")
for machine in x86_64 aarch64; do
    out=$here/../builder/sandbox/$machine.elf
    protection=
    [ $machine = aarch64 ] || protection=-fcf-protection=none
    "$machine-linux-gnu-gcc" -Os -nostdlib -static -ffreestanding -fno-pic -no-pie -fno-stack-protector -fno-builtin \
        -fno-asynchronous-unwind-tables $protection \
        -Wl,-z,noseparate-code,-z,max-page-size=65536,--build-id=none,-z,norelro,-z,noexecstack -o "$out" "$here/launch.c"
    "$machine-linux-gnu-strip" --strip-all --remove-section=.comment --remove-section=.note.gnu.property "$out"
done
chmod 644 "$here"/../builder/sandbox/*.elf
