//! Extended attributes that are wrong, each refused with its own message.

use squashfs_check::{Malformed, Table, XattrFault};

use crate::build::{Parts, at, set};
use crate::hostile_tables::{changed, number, patched, refused};

#[test]
fn attributes() {
    use Malformed as M;
    let fault = |change: &dyn Fn(&mut Parts)| match changed(change) {
        M::Xattr { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let sets = |at, value: u32| fault(&|p| set!(p.sets, at, value));
    assert!(matches!(sets(8, 0), XattrFault::Count { count: 0, .. }));
    assert!(matches!(sets(12, 0), XattrFault::Count { size: 0, .. }));
    assert!(matches!(
        sets(0, 8),
        XattrFault::Place | XattrFault::Value { .. }
    ));
    assert!(matches!(sets(0, 5), XattrFault::Place));
    assert!(matches!(sets(0, 0), XattrFault::Type { .. }));
    for wrong in [u64::MAX, 1 << 16, 39, 8192, 1 << 40] {
        let error = changed(|p| set!(p.sets, 0, wrong));
        refused!(
            error,
            M::Reference {
                table: Table::Xattrs,
                ..
            }
        );
    }
    refused!(changed(|p| set!(p.sets, 8, 3_u32)), M::TableEnd { .. });
    refused!(changed(|p| set!(p.sets, 8, u32::MAX)), M::TableEnd { .. });
    refused!(changed(|p| set!(p.sets, 8, 1_u32)), M::Rest { .. });
    // A count of sets beyond the inodes, or none.
    let header = |count: u32| {
        patched(|b| {
            let start = number(b, at::XATTR_TABLE) as usize;
            set!(b, start + 8, count);
        })
    };
    refused!(
        header(0),
        M::Count {
            table: Table::XattrIds,
            ..
        }
    );
    refused!(
        header(7),
        M::Count {
            table: Table::XattrIds,
            ..
        }
    );
    refused!(
        header(u32::MAX),
        M::Count {
            table: Table::XattrIds,
            ..
        }
    );
    refused!(
        header(2),
        M::TableLength {
            table: Table::XattrIds,
            ..
        }
    );
    for start in [0_u64, 95, u64::MAX, 1 << 63] {
        let error = patched(|b| {
            let header = number(b, at::XATTR_TABLE) as usize;
            set!(b, header, start);
        });
        refused!(
            error,
            M::TablePlace {
                table: Table::Xattrs,
                ..
            }
        );
    }
    let values = |at, value: u16| fault(&|p| set!(p.values, at, value));
    for kind in [3_u16, 0x200, 0x103, 0xffff, 255] {
        assert!(matches!(values(7, kind), XattrFault::Type { kind: found } if found == kind));
    }
    for size in [0_u16, 251, 255, 256, u16::MAX] {
        assert!(matches!(values(9, size), XattrFault::Name { size: found } if found == size));
    }
    assert!(matches!(
        fault(&|p| p.values[11] = 0),
        XattrFault::Name { .. }
    ));
    for size in [0_u32, 7, 9, u32::MAX] {
        assert!(matches!(
            fault(&|p| set!(p.values, 12, size)),
            XattrFault::Value { .. }
        ));
    }
    for size in [65537_u32, u32::MAX, 1 << 31] {
        assert!(matches!(
            fault(&|p| set!(p.values, 29, size)),
            XattrFault::Value { .. }
        ));
        assert!(matches!(
            fault(&|p| set!(p.values, 0, size)),
            XattrFault::Value { .. }
        ));
    }
    refused!(changed(|p| set!(p.values, 29, 2_u32)), M::TableEnd { .. });
    // To itself, to what comes later, to nowhere, over its own set.
    for reference in [7_u64, 24, 5000, 1 << 16, u64::MAX, 8192] {
        let found = fault(&|p| set!(p.values, 16, reference));
        assert!(matches!(found, XattrFault::Reference { .. }), "{found}");
    }
    assert!(matches!(
        fault(&|p| set!(p.values, 16, 3_u64)),
        XattrFault::Reference { .. } | XattrFault::Value { .. }
    ));
}
