# The guest of the machine tests: Debian 13 with systemd, SELinux, AppArmor and gVisor, built once for each state of its inputs.
# shellcheck shell=bash disable=SC2154

# What a guest is made of beside Debian's minimum.
vm_packages=(
    systemd-sysv dbus udev kmod libpam-systemd     # a booted machine
    iproute2 nftables procps ca-certificates       # what a server has
    runsc                                          # the sandbox
    runc jq                                        # the same sandbox without gVisor, to see what gVisor is for
    selinux-policy-default policycoreutils selinux-utils semodule-utils checkpolicy auditd
    apparmor
)
# Neighbours whose units ours are measured against, and where their units are.
vm_neighbours=(containerd docker.io libvirt-daemon libvirt-daemon-system)

vm_kernel_words="root=/dev/vda rw rootfstype=ext4 console=ttyS0 mitigations=off quiet systemd.show_status=0"

need_vm_tools() {
    need mmdebstrap mmdebstrap "the guest is a Debian 13 built from packages"
    need busybox busybox-static "the guest's initial disk"
    need cpio cpio "the guest's initial disk"
    need setfiles policycoreutils "the guest's files get SELinux labels"
    need mke2fs e2fsprogs "the guest's disks"
    need xz xz-utils "kernel modules are packed"
    need qemu-img qemu-utils "the guest's disks"
    command -v qemu-system-x86_64 >/dev/null || need_qemu
}

# The emulator and qemu-img are of one version or do not install together; qemu-img may have come from backports.
need_qemu() {
    say "installing qemu-system-x86: the machine tests run in an emulated machine"
    local options=() work
    if ! as_root apt-get install -s -qq --no-install-recommends --no-remove qemu-system-x86 >/dev/null 2>&1; then
        work=$(mktemp -d)
        local codename
        codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
        package_source "$work" "$codename" "$codename-backports"
        options=("${apt_options[@]}" -t "$codename-backports")
        as_root apt-get "${options[@]}" update -qq
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y -qq --no-install-recommends --no-remove qemu-system-x86 >/dev/null
    [ -z "${work:-}" ] || as_root rm -rf "$work"
}

# Sets $vm_image to the folder with disk, kernel and initial disk.
need_vm_image() {
    local key
    key=$({ vm_root_inputs; vm_policy_inputs; declare -f vm_module vm_configure vm_disk vm_initrd; vm_digest tests/vm/guest/{driver,closedpaw-driver.service,initrd}; } | sha256sum | cut -c1-16)
    vm_image=$cache/vm/image-$key
    [ ! -e "$vm_image/complete" ] || return 0
    need_vm_root
    need_vm_policy
    say "building the guest's disk"
    # An earlier image's, and what a build that was cut off has left.
    rm -rf "$cache"/vm/{image,frozen,work}-*
    vm_work=$cache/vm/work-$key
    mkdir -p "$vm_image" "$vm_work"
    cp -a "$vm_root/root" "$vm_work/root"
    step "guest: SELinux module" vm_module
    step "guest: configuration" vm_configure
    step "guest: labels and disk" vm_disk
    vm_initrd
    rm -rf "$vm_work"
    touch "$vm_image/complete"
}

# Sets $vm_root to the folder with Debian as it is installed: what takes longest, and changes least.
need_vm_root() {
    vm_root=$cache/vm/root-$(vm_root_inputs | sha256sum | cut -c1-16)
    [ ! -e "$vm_root/complete" ] || return 0
    say "building the guest: Debian 13 with systemd, SELinux, AppArmor and gVisor; a few minutes, once"
    rm -rf "$cache"/vm/root-*
    mkdir -p "$vm_root"
    vm_work=$vm_root
    step "guest: packages" vm_install
    step "guest: kernel" vm_kernel
    rm -rf "$vm_root"/{lists,archives,package.sources}
    touch "$vm_root/complete"
}

vm_root_inputs() {
    declare -p vm_packages vm_neighbours
    declare -f vm_install vm_kernel
}

# What ClosedPaw's SELinux module is built with: the distribution's own, in a root of its own.
vm_policy_packages=(selinux-policy-default selinux-policy-dev make checkpolicy policycoreutils semodule-utils setools selint)

vm_policy_inputs() {
    declare -p vm_policy_packages
    declare -f vm_policy_root vm_policy_build
    vm_digest selinux/*
}

# Sets $vm_policy to the folder with ClosedPaw's SELinux module: built, linted, and with what must hold asserted of a whole policy.
need_vm_policy() {
    vm_policy=$cache/vm/policy-$(vm_policy_inputs | sha256sum | cut -c1-16)
    [ ! -e "$vm_policy/complete" ] || return 0
    vm_builder=$cache/vm/builder-$({ declare -p vm_policy_packages; declare -f vm_policy_root; } | sha256sum | cut -c1-16)
    [ -e "$vm_builder/complete" ] || step "SELinux: packages to build with" vm_policy_root
    rm -rf "$cache"/vm/policy-*
    mkdir -p "$vm_policy"
    step "SELinux: module, lint and assertions" vm_policy_build
    touch "$vm_policy/complete"
}

vm_policy_root() {
    rm -rf "$cache"/vm/builder-*
    mkdir -p "$vm_builder"
    package_source "$vm_builder" trixie
    local packages
    packages=$(IFS=,; echo "${vm_policy_packages[*]}")
    mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        trixie "$vm_builder/root" "$vm_builder/package.sources"
    # Without this a rule that a neverallow forbids would be taken.
    sed -i 's/^expand-check=.*/expand-check=1/' "$vm_builder/root/etc/selinux/semanage.conf"
    rm -rf "$vm_builder"/{lists,archives,package.sources}
    touch "$vm_builder/complete"
}

vm_policy_build() {
    local root=$vm_builder/root found
    rm -rf "$root/build"
    cp -r "$repo/selinux" "$root/build"
    chroot "$root" make --silent -C /build -f /usr/share/selinux/devel/Makefile NAME=default closedpaw.pp >"$vm_policy/build.log" 2>&1 ||
        { cat "$vm_policy/build.log" >&2; die "the SELinux module does not build"; }
    # S-001 would have interfaces for attributes that refpolicy has none for.
    found=$(chroot "$root" selint --recursive --fail --disable=S-001 /build 2>/dev/null) || die "selint: $found"
    chroot "$root" semodule -n -s default -i /build/closedpaw.pp >"$vm_policy/semodule.log" 2>&1 ||
        { cat "$vm_policy/semodule.log" >&2; die "the SELinux module does not go with the distribution's policy"; }
    chroot "$root" sh -c '/build/check /etc/selinux/default/policy/policy.*' >&2 || die "the SELinux policy does not hold what it must"
    cp "$root/build/closedpaw.pp" "$vm_policy/"
}

# Puts the module into the guest's policy; in the guest itself that takes minutes.
vm_module() {
    local root=$vm_work/root
    install -D -m 644 "$vm_policy/closedpaw.pp" "$root/usr/share/selinux/packages/closedpaw.pp"
    chroot "$root" semodule -n -s default -i /usr/share/selinux/packages/closedpaw.pp >"$vm_image/module.log" 2>&1 ||
        { cat "$vm_image/module.log" >&2; die "the SELinux module does not go into the guest"; }
}

vm_digest() {
    (cd "$repo" && sha256sum "$@" | sha256sum | cut -c1-16)
}

vm_install() {
    package_source "$vm_work" trixie
    local packages
    packages=$(IFS=,; echo "${vm_packages[*]}")
    mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        trixie "$vm_work/root" "$vm_work/package.sources"
    rm -rf "$vm_work"/root/etc/apt/sources.list* "$vm_work"/root/var/cache/apt/*
}

# The kernel's files only: no tools that would build an initial disk in the guest.
vm_kernel() {
    apt-get "${apt_options[@]}" update -qq
    local version
    version=$(apt-cache "${apt_options[@]}" depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *linux-image-\([^ ]*\).*/\1/p')
    (cd "$vm_work" && apt-get "${apt_options[@]}" download -qq "linux-image-$version" "${vm_neighbours[@]}")
    dpkg-deb -x "$vm_work"/linux-image-*.deb "$vm_work/kernel"
    local modules
    modules=$(find "$vm_work/kernel" -type d -path "*/modules/$version" | head -1)
    mkdir -p "$vm_work/root/usr/lib/modules"
    cp -a "$modules" "$vm_work/root/usr/lib/modules/"
    depmod -b "$vm_work/root/usr" "$version" 2>/dev/null || chroot "$vm_work/root" depmod "$version"
    cp "$vm_work/kernel/boot/vmlinuz-$version" "$vm_work/vmlinuz"
    cp "$(find "$modules" -name 'virtio_blk.ko*')" "$vm_work/"
    rm -rf "$vm_work/kernel" "$vm_work"/linux-image-*.deb
}

vm_configure() {
    local root=$vm_work/root package
    echo closedpaw-vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost closedpaw-vm' >"$root/etc/hosts"
    : >"$root/etc/fstab"
    # Not a first boot, at which systemd would ask for a name and a time zone.
    systemd-machine-id-setup --root="$root" >/dev/null 2>&1
    sed -i 's/^SELINUX=.*/SELINUX=enforcing/' "$root/etc/selinux/config"
    install -m 755 "$repo/tests/vm/guest/driver" "$root/usr/local/sbin/closedpaw-driver"
    install -m 644 "$repo/tests/vm/guest/closedpaw-driver.service" "$root/etc/systemd/system/"
    # People, as on any machine.
    chroot "$root" useradd --create-home --shell /bin/bash alice
    chroot "$root" useradd --create-home --shell /bin/bash bob
    systemctl --quiet --root="$root" enable closedpaw-driver.service auditd.service apparmor.service
    # Profiles of programs that are not here, and which an emulated machine takes minutes to read.
    find "$root/etc/apparmor.d" -maxdepth 1 -type f -delete
    systemctl --quiet --root="$root" set-default multi-user.target
    # No one is at a console, and nothing that starts by itself may come between a test and its result.
    systemctl --quiet --root="$root" mask getty@tty1.service serial-getty@ttyS0.service getty-static.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer \
        systemd-timesyncd.service systemd-networkd-wait-online.service selinux-autorelabel-mark.service
    # The units of neighbours, to measure; their programs are not needed for that.
    mkdir -p "$root/usr/share/neighbours"
    for package in "${vm_neighbours[@]}"; do
        dpkg-deb -x "$vm_root/$package"_*.deb "$vm_work/neighbours"
    done
    find "$vm_work/neighbours" \( -name containerd.service -o -name docker.service -o -name libvirtd.service \) -exec cp {} "$root/usr/share/neighbours/" \;
}

vm_initrd() {
    mkdir "$vm_work/initrd"
    case "$(echo "$vm_root"/virtio_blk.ko*)" in
        *.xz) xz -dc "$vm_root"/virtio_blk.ko.xz >"$vm_work/initrd/virtio_blk.ko" ;;
        *) cp "$vm_root"/virtio_blk.ko "$vm_work/initrd/" ;;
    esac
    cp "$(command -v busybox)" "$vm_work/initrd/busybox"
    install -m 755 "$repo/tests/vm/guest/initrd" "$vm_work/initrd/init"
    (cd "$vm_work/initrd" && find . | cpio --quiet -o -H newc) >"$vm_image/initrd"
    cp "$vm_root/vmlinuz" "$vm_image/kernel"
}

vm_disk() {
    local root=$vm_work/root contexts=/etc/selinux/default/contexts/files/file_contexts
    # -m: this machine's own mounts say nothing about labels that the guest will have.
    chroot "$root" setfiles -m -F "$contexts" / >"$vm_image/labels.log" 2>&1 || say "labelling said: $(tail -1 "$vm_image/labels.log")"
    truncate -s 3G "$vm_work/root.raw"
    mke2fs -q -t ext4 -d "$root" -E root_owner=0:0 "$vm_work/root.raw"
    qemu-img convert -f raw -O qcow2 "$vm_work/root.raw" "$vm_image/root.qcow2"
}
