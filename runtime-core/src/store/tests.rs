use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::config::Size;

fn store(size: Size) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let config = config::Store {
        path: dir.path().join("store"),
        size,
        timeout: 10,
    };
    let store = Store::open(&config).unwrap();
    (dir, store)
}

fn record(size: u64) -> Record {
    Record {
        size,
        trusted: false,
        keyring: String::new(),
        check: Check::default(),
    }
}

fn copy_in(store: &Store, source: &File) -> Result<Digest, StoreError> {
    let key = Key::of(source.as_fd(), 7).unwrap();
    let copying = store.begin(&key, Duration::ZERO)?;
    let copied = copying.copy(source.as_fd(), &mut |_| {})?;
    let digest = copied.digest().unwrap();
    store.note(&digest, &record(key.size))?;
    store.publish(&copied, &digest)?;
    Ok(digest)
}

fn image(dir: &std::path::Path, name: &str, bytes: &[u8]) -> File {
    std::fs::write(dir.join(name), bytes).unwrap();
    File::open(dir.join(name)).unwrap()
}

#[test]
fn a_copy_has_its_contents_name_and_cannot_be_written() {
    let (dir, store) = store(Size::Bytes(1 << 20));
    let digest = copy_in(&store, &image(dir.path(), "a", b"abc")).unwrap();
    // SHA-256 of "abc", FIPS 180-2, appendix B.1.
    assert_eq!(
        digest.as_str(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let object = store.object(&digest).unwrap();
    let mode = File::from(object.file).metadata().unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o400);
    assert_eq!(
        std::fs::read_dir(store.path.join(PARTIAL)).unwrap().count(),
        0
    );
    // The same content once more is the same copy.
    let again = copy_in(&store, &image(dir.path(), "b", b"abc")).unwrap();
    assert_eq!(again, digest);
    assert_eq!(
        std::fs::read_dir(store.path.join(OBJECTS)).unwrap().count(),
        1
    );
}

#[test]
fn an_object_of_another_length_or_one_that_can_be_written_is_none() {
    let (dir, store) = store(Size::Bytes(1 << 20));
    let digest = copy_in(&store, &image(dir.path(), "a", b"abc")).unwrap();
    let path = store.object_path(&digest);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(store.object(&digest).is_none());
    std::fs::write(&path, b"abcd").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
    assert!(store.object(&digest).is_none());
}

#[test]
fn a_copy_that_was_stopped_is_gone_on_with() {
    let (dir, store) = store(Size::Bytes(1 << 30));
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let source = image(dir.path(), "a", &bytes);
    let key = Key::of(source.as_fd(), 7).unwrap();
    // As a process that was killed leaves it.
    let begun = 8 << 20;
    let left = store.path.join(PARTIAL).join(key.file_name());
    std::fs::write(&left, &bytes[..begun]).unwrap();
    let copying = store.begin(&key, Duration::ZERO).unwrap();
    // Somebody else must not copy at the same time.
    assert!(matches!(
        store.begin(&key, Duration::from_millis(2)),
        Err(StoreError::Busy)
    ));
    let mut first = None;
    let copied = copying
        .copy(source.as_fd(), &mut |have| {
            first.get_or_insert(have);
        })
        .unwrap();
    assert_eq!(first, Some(begun as u64));
    assert_eq!(std::fs::read(&copied.path).unwrap(), bytes);
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let (dir, store) = store(Size::Bytes(100 << 10));
    let file = |name: &str, byte: u8| image(dir.path(), name, &vec![byte; 40 << 10]);
    let one = copy_in(&store, &file("a", 1)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let two = copy_in(&store, &file("b", 2)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(store.object(&one).is_some(), "used again");
    std::thread::sleep(Duration::from_millis(20));
    let three = copy_in(&store, &file("c", 3)).unwrap();
    assert!(store.object(&two).is_none(), "removed");
    assert!(store.object(&one).is_some() && store.object(&three).is_some());
    let error = copy_in(&store, &image(dir.path(), "d", &vec![4; 200 << 10])).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    assert_eq!(
        std::fs::read_dir(store.path.join(PARTIAL)).unwrap().count(),
        0
    );
}

#[test]
fn a_changed_file_is_not_published() {
    let (dir, store) = store(Size::Bytes(1 << 20));
    let source = image(dir.path(), "a", b"abc");
    let key = Key::of(source.as_fd(), 7).unwrap();
    let copying = store.begin(&key, Duration::ZERO).unwrap();
    std::fs::write(dir.path().join("a"), b"abd").unwrap();
    let error = copying.copy(source.as_fd(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::Changed), "{error}");
    assert_eq!(
        std::fs::read_dir(store.path.join(PARTIAL)).unwrap().count(),
        0
    );
}

#[test]
fn others_directories_are_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    let config = config::Store {
        path,
        size: Size::Percent(1),
        timeout: 10,
    };
    assert!(Store::open(&config).is_err());
}

fn sparse(dir: &std::path::Path, name: &str, bytes: u64) -> (File, Key) {
    let file = File::create(dir.join(name)).unwrap();
    file.set_len(bytes).unwrap();
    let file = File::open(dir.join(name)).unwrap();
    let key = Key::of(file.as_fd(), 7).unwrap();
    (file, key)
}

#[test]
fn copies_under_way_count_with_their_whole_length() {
    let (dir, store) = store(Size::Bytes(10 << 20));
    let (_one, one) = sparse(dir.path(), "a", 9 << 20);
    let (_two, two) = sparse(dir.path(), "b", 9 << 20);
    let copying = store.begin(&one, Duration::ZERO).unwrap();
    assert!(matches!(
        store.begin(&two, Duration::ZERO),
        Err(StoreError::NoRoom { .. })
    ));
    drop(copying);
    // Nobody is at the first one any more: it goes.
    assert!(store.begin(&two, Duration::ZERO).is_ok());
}

#[test]
fn what_cannot_fit_costs_nobody_a_copy() {
    let (dir, store) = store(Size::Bytes(1 << 20));
    let digest = copy_in(&store, &image(dir.path(), "a", b"abc")).unwrap();
    let (_big, big) = sparse(dir.path(), "b", 1 << 40);
    assert!(matches!(
        store.begin(&big, Duration::ZERO),
        Err(StoreError::NoRoom { .. })
    ));
    assert!(store.object(&digest).is_some());
}

#[test]
fn a_use_does_not_change_the_copy() {
    use std::os::unix::fs::MetadataExt;
    let (dir, store) = store(Size::Bytes(1 << 20));
    let digest = copy_in(&store, &image(dir.path(), "a", b"abc")).unwrap();
    let times = || {
        let about = std::fs::metadata(store.object_path(&digest)).unwrap();
        (about.mtime_nsec(), about.ctime(), about.ctime_nsec())
    };
    let before = times();
    std::thread::sleep(Duration::from_millis(15));
    assert!(store.object(&digest).is_some());
    assert_eq!(times(), before);
}

#[test]
fn a_copy_of_another_boot_is_not_gone_on_with() {
    let (dir, store) = store(Size::Bytes(1 << 20));
    let left = store.path.join(PARTIAL).join("boot000-7-1-1-3-0.0-0.0");
    std::fs::write(&left, b"ab").unwrap();
    copy_in(&store, &image(dir.path(), "a", b"abc")).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let config = config::Store {
        path: path.clone(),
        size: Size::Percent(1),
        timeout: 10,
    };
    Store::open(&config).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path) & 0o777, 0o755);
    assert_eq!(mode(&path.join(OBJECTS)) & 0o777, 0o700);
}
