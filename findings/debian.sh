# To be sourced. Makes $folder, which is removed at the end.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# debian PACKAGE=VERSION... brings just these packages from Debian's archive and unpacks them below $folder. From then on their programs,
# libraries and Python modules are found before the machine's. QEMU looks for its modules and firmware beside its own program.
# Ends the script with status 2 if apt does not have one of them in that version.
debian() {
    local root=$folder/debian package
    mkdir "$root"
    if ! (cd "$root" && apt-get -qq -o APT::Sandbox::User=root download "$@"); then
        echo "cannot be downloaded (any more): $*" >&2
        exit 2
    fi
    for package in "$root"/*.deb; do dpkg-deb -x "$package" "$root"; done
    export PATH=$root/usr/bin:$root/usr/sbin:$root/bin:$root/sbin:$PATH # /sbin/ip is a link to the machine's /bin/ip
    LD_LIBRARY_PATH=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    PYTHONPATH=$root/usr/lib/python3/dist-packages:$(realpath "$(dirname "${BASH_SOURCE[0]}")") # the latter for qmp.py
    export LD_LIBRARY_PATH PYTHONPATH
}
