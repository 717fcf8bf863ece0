//! What mksquashfs and sqfstar write is accepted, whatever their options.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use squashfs_check::{Limits, Malformed, check};

use crate::tar::Tar;
use crate::tools::{look, mksquashfs, run, sqfstar};

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    };
    (0..length).map(next).collect()
}

/// A tree with everything that an unprivileged user can make: 2,010 files.
fn tree(root: &Path) {
    for name in ["a", "b", "empty", "huge", "deep/er/est"] {
        fs::create_dir_all(root.join(name)).expect("a directory");
    }
    let write = |name: &str, content: &[u8]| {
        fs::write(root.join(name), content).expect("a file");
    };
    for number in 0..2000 {
        write(
            &format!("huge/a-name-that-is-long-enough-to-fill-blocks-{number}"),
            format!("content of file {number}\n")
                .repeat(number % 7)
                .as_bytes(),
        );
    }
    let text = "this compresses well\n".repeat(30_000).into_bytes();
    write("a/text", &text);
    write("b/the-same-text", &text);
    write("a/noise", &noise(700_001));
    for blocks in [1, 2] {
        write(&format!("a/exactly-{blocks}"), &noise(blocks * 131_072));
        write(&format!("a/zeros-{blocks}"), &vec![0; blocks * 131_072 + 1]);
    }
    write("a/nothing", &[]);
    write("deep/er/est/one", b"1");
    let sparse = fs::File::create(root.join("a/sparse")).expect("a file");
    sparse.set_len(40 << 20).expect("a sparse file");
    fs::hard_link(root.join("a/noise"), root.join("b/hard")).expect("a hard link");
    symlink("x".repeat(4000), root.join("b/long")).expect("a link");
    symlink("../a", root.join("b/short")).expect("a link");
}

const COMPRESSORS: [&str; 4] = ["gzip", "lz4", "xz", "zstd"];

#[test]
fn mksquashfs_with_every_compressor_and_option() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = temporary.path().join("tree");
    let image = temporary.path().join("image");
    tree(&root);
    let options: [&[&str]; 14] = [
        &[],
        &["-b", "4096"],
        &["-b", "1M"],
        &["-noI"],
        &["-noD", "-noF"],
        &["-noI", "-noD", "-noF", "-noX", "-noId"],
        &["-no-fragments"],
        &["-always-use-fragments", "-b", "16384"],
        &["-no-duplicates"],
        &["-no-exports"],
        &["-no-xattrs", "-all-root"],
        &["-no-sparse", "-b", "1M", "-noI"],
        &["-nopad", "-no-hardlinks"],
        &["-all-time", "0", "-force-uid", "4000000000"],
    ];
    for compressor in COMPRESSORS {
        for options in options {
            let options = [&["-comp", compressor], options].concat();
            let bytes = mksquashfs(&root, &image, &options);
            let report = look(&bytes).unwrap_or_else(|error| panic!("{options:?}: {error}"));
            let hard = u32::from(options.contains(&"-no-hardlinks"));
            assert_eq!(report.files, 2010 + hard, "{options:?}");
            assert_eq!(report.directories, 8, "{options:?}");
            assert_eq!(report.links, 2, "{options:?}");
            assert_eq!(report.entries, 2020, "{options:?}");
            if hard == 0 && !options.contains(&"-no-sparse") {
                let content = 2 * 630_000 + 700_001 + 3 * 131_072;
                assert!(report.bytes > content, "{options:?}: {report:?}");
                assert!(
                    report.bytes < content + (4 << 20),
                    "{options:?}: {report:?}"
                );
            }
        }
    }
}

#[test]
fn the_compressors_own_options() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = temporary.path().join("tree");
    let image = temporary.path().join("image");
    fs::create_dir(&root).expect("a directory");
    fs::write(root.join("text"), "text\n".repeat(100_000)).expect("a file");
    let options: [&[&str]; 9] = [
        &[
            "-comp",
            "gzip",
            "-Xcompression-level",
            "3",
            "-Xwindow-size",
            "9",
        ],
        &["-comp", "gzip", "-Xstrategy", "huffman_only,fixed"],
        &["-comp", "lz4", "-Xhc"],
        &["-comp", "xz", "-Xbcj", "x86,arm"],
        &["-comp", "xz", "-Xdict-size", "75%"],
        &["-comp", "xz", "-Xdict-size", "8192"],
        &["-comp", "zstd", "-Xcompression-level", "1"],
        &["-comp", "zstd", "-Xcompression-level", "22", "-b", "1M"],
        &["-comp", "zstd", "-b", "4096"],
    ];
    for options in options {
        let bytes = mksquashfs(&root, &image, options);
        let report = look(&bytes).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(report.bytes, 500_000, "{options:?}");
    }
    for compressor in ["lzo", "lzma"] {
        let mut bytes = mksquashfs(&root, &image, &["-comp", "gzip"]);
        bytes[20] = if compressor == "lzo" { 3 } else { 2 };
        let error = look(&bytes).expect_err("no decompressor for it");
        assert!(matches!(error, Malformed::Compression { name } if name == compressor));
    }
}

#[test]
fn sqfstar_with_attributes_devices_and_links() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let image = temporary.path().join("image");
    let long = vec![b'v'; 3000];
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tar = Tar::new();
    tar.xattrs(&[("user.on-the-root", b"1")])
        .node("./", b'5', "");
    tar.node("d", b'5', "").file("d/file", b"content");
    tar.xattrs(&[("security.capability", &capability), ("user.long", &long)]);
    tar.file("d/ping", b"not really");
    for number in 0..500 {
        let value = format!("{number}").repeat(number % 60 + 1);
        let pairs = [
            ("trusted.some", value.as_bytes()),
            ("user.long", &long[..2900 + number % 10]),
        ];
        tar.xattrs(&pairs)
            .file(&format!("d/n{number}"), value.as_bytes());
    }
    tar.xattrs(&[("user.t", b"")]).node("d/link", b'2', "file");
    tar.xattrs(&[("user.t", b"2")]).node("null", b'3', "");
    tar.xattrs(&[("user.t", b"2")]).node("disk", b'4', "");
    tar.xattrs(&[("user.t", &long)]).node("pipe", b'6', "");
    tar.node("block", b'4', "")
        .node("character", b'3', "")
        .node("fifo", b'6', "");
    tar.node("hard", b'1', "d/file")
        .node("harder", b'1', "d/file");
    let archive = tar.finish();
    for compressor in COMPRESSORS {
        for options in [&[][..], &["-noX"], &["-noI", "-exports"], &["-no-xattrs"]] {
            let options = [&["-comp", compressor], options].concat();
            let bytes = sqfstar(&archive, &image, &options);
            let report = look(&bytes).unwrap_or_else(|error| panic!("{options:?}: {error}"));
            assert_eq!(report.files, 502, "{options:?}");
            assert_eq!(report.special, 6, "{options:?}");
            assert_eq!(report.links, 1, "{options:?}");
            assert_eq!(report.entries, 512, "{options:?}");
        }
    }
}

#[test]
fn images_that_were_added_to_and_empty_ones() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let (one, two) = (temporary.path().join("one"), temporary.path().join("two"));
    let image = temporary.path().join("image");
    fs::create_dir(&one).expect("a directory");
    let report = look(&mksquashfs(&one, &image, &[])).expect("an empty image");
    assert_eq!((report.inodes, report.bytes), (1, 0));
    tree(&two);
    fs::write(one.join("one"), noise(300_000)).expect("a file");
    mksquashfs(&one, &image, &[]);
    let paths = [&two, &image].map(|path| path.to_str().expect("UTF-8"));
    run(
        "mksquashfs",
        &[&paths[..], &["-quiet", "-no-progress"]].concat(),
        &[],
    );
    let report = look(&fs::read(&image).expect("the image")).expect("an image with more");
    assert_eq!(report.files, 2011);
}

#[test]
fn a_file_beyond_four_gigabytes() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = temporary.path().join("tree");
    fs::create_dir(&root).expect("a directory");
    let path = root.join("large");
    let large = fs::File::create(&path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&large, b"the end", 4 << 30).expect("a hole");
    let image = temporary.path().join("image");
    let bytes = mksquashfs(&root, &image, &["-comp", "lz4", "-b", "1M"]);
    let report = look(&bytes).expect("a large file");
    assert_eq!((report.files, report.bytes), (1, 7));
}

#[test]
fn an_image_within_a_larger_file() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = temporary.path().join("tree");
    fs::create_dir(&root).expect("a directory");
    fs::write(root.join("f"), noise(10_000)).expect("a file");
    let bytes = mksquashfs(&root, &temporary.path().join("image"), &[]);
    let mut whole = vec![7; 32768];
    whole.extend(&bytes);
    whole.extend([9; 5000]);
    let path = temporary.path().join("whole");
    fs::write(&path, &whole).expect("a file");
    let file = fs::File::open(&path).expect("the file");
    let length = bytes.len() as u64;
    let limits = Limits::default();
    check(&file, 32768, length, &limits).expect("the image in the file");
    let error = check(&file, 32768, length + 5000, &limits).expect_err("bytes follow");
    assert!(matches!(error, Malformed::NotPadding { .. }), "{error}");
    let error = check(&file, 32768, length - 4096, &limits).expect_err("bytes lack");
    assert!(matches!(error, Malformed::Truncated { .. }), "{error}");
    // The caller is wrong about the file's length.
    let error = check(&file, 40000, length, &limits).expect_err("not an image");
    assert!(matches!(error, Malformed::Magic { .. }), "{error}");
    let error = check(&file, u64::MAX - 4, length, &limits).expect_err("no such place");
    assert!(
        matches!(error, Malformed::Truncated { .. } | Malformed::Read { .. }),
        "{error}"
    );
    let end = whole.len() as u64;
    let error = check(&file, end, length, &limits).expect_err("nothing there");
    assert!(matches!(error, Malformed::Read { .. }), "{error}");
}
