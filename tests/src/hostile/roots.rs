//! Root file systems that no package makes: places of mounts that lead away, are
//! of the wrong kind or loop; devices; names that are paths; sizes beyond reason.
//!
//! Most are a base with a few lines of mksquashfs' pseudo definitions.

/// What a step in such an image comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The program runs in the image and nowhere else.
    Runs,
    /// Refused with this message behind the image's name; `*` for what differs.
    Refused(&'static str),
    /// The program itself fails: there is nothing in the image, or it cannot be
    /// read.
    NoProgram,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Root {
    /// Its file is `NAME.sqsh`.
    pub name: &'static str,
    /// Pseudo definitions: `PATH TYPE MODE UID GID …`.
    pub entries: &'static [&'static str],
    /// Shell commands that make the image, for what no pseudo definition can.
    pub by_hand: &'static str,
    /// Run in the container; must print nothing.
    pub probe: &'static str,
    /// What it comes to.
    pub outcome: Outcome,
}

const RUNS: Root = Root {
    name: "",
    entries: &[],
    by_hand: "",
    probe: "",
    outcome: Outcome::Runs,
};

/// All of them.
pub const ROOTS: &[Root] = &[
    Root {
        name: "nothing-to-mount-on",
        ..RUNS
    },
    // Links where mounts go: absolute, upwards, chained, looping, through /proc.
    Root {
        name: "etc-absolute",
        entries: &["etc s 777 0 0 /var/tmp"],
        ..RUNS
    },
    Root {
        name: "etc-upwards",
        entries: &["etc s 777 0 0 ../../../../../../mnt", "mnt d 755 0 0"],
        ..RUNS
    },
    Root {
        name: "etc-loop",
        entries: &["etc s 777 0 0 etc"],
        outcome: Outcome::Refused(
            "/etc/passwd: Too many levels of symbolic links in the image; correct the image",
        ),
        ..RUNS
    },
    Root {
        name: "etc-chain",
        entries: &[
            "etc s 777 0 0 /a",
            "a s 777 0 0 ../b",
            "b s 777 0 0 /c/../d",
            "c d 755 0 0",
            "d s 777 0 0 ../../../root/oarlock-outside",
        ],
        ..RUNS
    },
    Root {
        name: "files-absolute",
        entries: &[
            "etc d 755 0 0",
            "etc/hosts s 777 0 0 /root/oarlock-outside",
            "etc/localtime s 777 0 0 /etc/shadow",
            "etc/resolv.conf s 777 0 0 /../../outside/file",
            "etc/group s 777 0 0 /proc/1/root/etc/group",
            "etc/passwd s 777 0 0 /proc/self/root/root/oarlock-outside",
        ],
        ..RUNS
    },
    Root {
        name: "dev-outside",
        entries: &["dev s 777 0 0 /oarlock-outside"],
        ..RUNS
    },
    Root {
        name: "dev-upwards",
        entries: &["dev s 777 0 0 ../../../../root"],
        ..RUNS
    },
    Root {
        name: "dev-loop",
        entries: &["dev s 777 0 0 deeper/..", "deeper s 777 0 0 dev"],
        outcome: Outcome::Refused(
            "/dev: Too many levels of symbolic links in the image; correct the image",
        ),
        ..RUNS
    },
    Root {
        name: "proc-and-sys-elsewhere",
        entries: &["proc s 777 0 0 /etc", "sys s 777 0 0 ../../../../mnt"],
        ..RUNS
    },
    Root {
        name: "tmp-and-home-elsewhere",
        entries: &[
            "tmp s 777 0 0 /root",
            "var s 777 0 0 ../../../srv",
            "home s 777 0 0 /etc",
            "etc d 755 0 0",
        ],
        ..RUNS
    },
    Root {
        name: "one-place-for-all",
        entries: &[
            "x d 755 0 0",
            "dev s 777 0 0 x",
            "proc s 777 0 0 x",
            "sys s 777 0 0 x",
            "tmp s 777 0 0 x",
            "home s 777 0 0 x",
            "etc s 777 0 0 x",
        ],
        outcome: Outcome::Refused(
            "/etc/passwd: leads into another mount through the image's links; correct the image",
        ),
        ..RUNS
    },
    // Things of the wrong kind.
    Root {
        name: "etc-file",
        entries: &["etc f 644 0 0 echo file"],
        outcome: Outcome::Refused("/etc/passwd: Not a directory in the image; correct the image"),
        ..RUNS
    },
    Root {
        name: "dev-file",
        entries: &["dev f 644 0 0 echo file"],
        outcome: Outcome::Refused(
            "/dev: is a file in the image and must be a directory; correct the image",
        ),
        ..RUNS
    },
    Root {
        name: "all-files",
        entries: &[
            "proc f 644 0 0 echo file",
            "sys f 644 0 0 echo file",
            "tmp f 644 0 0 echo file",
            "home f 644 0 0 echo file",
            "var f 644 0 0 echo file",
        ],
        ..RUNS
    },
    Root {
        name: "all-directories",
        entries: &[
            "etc d 755 0 0",
            "etc/hosts d 755 0 0",
            "etc/localtime d 755 0 0",
            "etc/resolv.conf d 755 0 0",
        ],
        ..RUNS
    },
    Root {
        name: "passwd-directory",
        entries: &["etc d 755 0 0", "etc/passwd d 755 0 0"],
        outcome: Outcome::Refused(
            "/etc/passwd: is a directory in the image and must be a file; correct the image",
        ),
        ..RUNS
    },
    Root {
        name: "passwd-pipe",
        entries: &[
            "etc d 755 0 0",
            "etc/passwd i 666 0 0 f",
            "etc/group i 666 0 0 s",
            "etc/hosts i 666 0 0 f",
        ],
        ..RUNS
    },
    // /dev/zero, which has no end, and a disk.
    Root {
        name: "passwd-device",
        entries: &[
            "etc d 755 0 0",
            "etc/passwd c 666 0 0 1 5",
            "etc/group b 666 0 0 7 0",
        ],
        ..RUNS
    },
    // What overlayfs takes for "there is nothing".
    Root {
        name: "whiteouts",
        entries: &[
            "etc c 0 0 0 0 0",
            "dev c 0 0 0 0 0",
            "home c 0 0 0 0 0",
            "tmp c 0 0 0 0 0",
        ],
        outcome: Outcome::Refused(
            "/dev: is a file in the image and must be a directory; correct the image",
        ),
        ..RUNS
    },
    Root {
        name: "devices",
        entries: &[
            "dev d 755 0 0",
            "dev/null c 666 0 0 1 5",
            "null c 666 0 0 1 3",
            "fuse c 666 0 0 10 229",
            "loop b 666 0 0 7 0",
        ],
        probe: "for node in null fuse loop; do \
                  [ -e /$node ] || echo no $node; \
                  cat /$node >/dev/null 2>&1 && echo $node can be opened; \
                done",
        ..RUNS
    },
    Root {
        name: "owners-and-modes",
        entries: &[
            "etc d 7777 4294967294 4294967294",
            "var d 0 0 0",
            "home d 6755 1000 1000",
            "usr d 755 0 0",
            "usr/cat f 6755 0 0 cat base/bin/cat",
        ],
        probe: "touch /etc/x /home/x 2>/dev/null && echo written; \
                set -- $(/usr/cat /proc/self/status); [ $# -gt 0 ] || echo does not run; \
                while [ $# -gt 0 ]; do \
                  case $1 in Uid:|Gid:) [ $2/$3/$4 = 1000/1000/1000 ] || echo $1 $2 $3 $4;; esac; shift; \
                done",
        ..RUNS
    },
    Root {
        name: "closed",
        by_hand: "pack base closed -root-mode 0",
        outcome: Outcome::Refused("/dev: Permission denied in the image; correct the image"),
        ..RUNS
    },
    Root {
        name: "scripts-pipe",
        entries: &[
            ".singularity.d d 755 0 0",
            ".singularity.d/env d 755 0 0",
            ".singularity.d/env/10.sh i 666 0 0 f",
            ".singularity.d/env/20.sh c 666 0 0 1 5",
            ".singularity.d/env/30.sh s 777 0 0 /dev/zero",
        ],
        ..RUNS
    },
    Root {
        name: "bin-pipe",
        entries: &[
            "lib64/ld.so i 755 0 0 f",
            "usr d 755 0 0",
            "usr/bin s 777 0 0 ../usr/bin",
        ],
        ..RUNS
    },
    // By hand from here on.
    Root {
        name: "empty",
        by_hand: "mkdir scratch/empty; pack scratch/empty empty",
        outcome: Outcome::NoProgram,
        ..RUNS
    },
    Root {
        name: "names-of-lines",
        by_hand: "cp -al base scratch/lines\n\
                  mkdir $'scratch/lines/etc\\n' $'scratch/lines/\\033[2Jx'\n\
                  ln -s $'/mnt/a\\nb\\033[1m' scratch/lines/tmp\n\
                  ln -s $'\\n' scratch/lines/home\n\
                  pack scratch/lines names-of-lines",
        ..RUNS
    },
    Root {
        name: "deep",
        by_hand: "cp -al base scratch/deep\n\
                  long=$(printf 'd/%.0s' {1..1000}); mkdir -p scratch/deep/$long\n\
                  ln -s $long scratch/deep/etc; ln -s ${long//d/..} scratch/deep/home\n\
                  pack scratch/deep deep",
        ..RUNS
    },
    // mksquashfs makes no such names: the file is patched.
    Root {
        name: "names-of-paths",
        entries: &[
            "Q1 d 755 0 0",
            "Q1/QQQQ f 644 0 0 echo x",
            "Q1/q3 d 755 0 0",
        ],
        by_hand: "python3 patch.py rename names-of-paths.sqsh QQQQ ../x q3 ..",
        probe: "ls -laR /Q1 >/dev/null 2>&1; :",
        ..RUNS
    },
    Root {
        name: "names-twice",
        entries: &["etb d 755 0 0", "etd s 777 0 0 /root"],
        by_hand: "python3 patch.py rename names-twice.sqsh etb etc etd etc",
        ..RUNS
    },
    Root {
        name: "directory-in-itself",
        entries: &["LOOPLOOP d 755 0 0", "home s 777 0 0 LOOPLOOP/LOOPLOOP"],
        by_hand: "python3 patch.py loop directory-in-itself.sqsh LOOPLOOP",
        ..RUNS
    },
    Root {
        name: "million-links",
        by_hand: "work=$(mktemp -d /dev/shm/million.XXXXXX); cp -a base/. $work\n\
                  python3 -c 'import os, sys; os.chdir(sys.argv[1]); [os.symlink(\"/etc/passwd\", str(n)) for n in range(10**6)]' $work\n\
                  pack $work million-links; rm -rf $work",
        probe: "[ $(readlink /999999) = /etc/passwd ] || echo no link",
        ..RUNS
    },
    // A kilobyte of it is a megabyte, and it is what Oarlock reads by itself.
    Root {
        name: "bomb",
        by_hand: "cp -al base scratch/bomb; mkdir -p scratch/bomb/etc scratch/bomb/usr/lib/locale\n\
                  truncate -s 1G scratch/bomb/etc/passwd; ln scratch/bomb/etc/passwd scratch/bomb/etc/group\n\
                  ln scratch/bomb/etc/passwd scratch/bomb/usr/lib/locale/locale-archive\n\
                  mksquashfs scratch/bomb bomb.sqsh -noappend -quiet -no-progress -no-sparse \
                    -Xcompression-level 1 -b 1M",
        ..RUNS
    },
];

/// The commands that make them all, in a directory with `base`.
pub(super) fn script() -> String {
    let mut out = String::from(
        "pack() {\n\
           local from=$1 to=$2; shift 2\n\
           mksquashfs $from $to.sqsh -noappend -quiet -no-progress -processors 1 -noI -noD -noF -noX \"$@\"\n\
         }\n",
    );
    for root in ROOTS {
        let name = root.name;
        if !root.entries.is_empty() || root.by_hand.is_empty() {
            let entries = root.entries.join("\n");
            out.push_str(&format!(
                "cat >{name}.pseudo <<'END'\n{entries}\nEND\npack base {name} -pf {name}.pseudo\n"
            ));
        }
        out.push_str(root.by_hand);
        out.push('\n');
    }
    out
}
