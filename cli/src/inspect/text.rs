//! A report as people read it.
//!
//! Only this text is for eyes; scripts have `--json`. Everything that an image's maker could write is escaped.

use runtime_core::image::sif::size::human;

use super::report::{FileSystem, Object, Report, SifReport};

/// The whole report, ending in a newline.
pub(super) fn render(report: &Report) -> String {
    match report {
        Report::Directory { path } => format!("{path}: directory, used as the root file system\n"),
        Report::Squashfs {
            path,
            size,
            file_system,
        } => {
            format!(
                "{path}: squashfs, {}\n  {}\n",
                human(*size),
                describe(file_system)
            )
        }
        Report::Sif(sif) => render_sif(sif),
    }
}

fn render_sif(sif: &SifReport) -> String {
    let mut lines = vec![
        format!("{}: SIF, {}", sif.path, human(sif.size)),
        format!("  architecture  {}", sif.arch.unwrap_or("unknown")),
        format!("  created       {}", time(sif.created)),
    ];
    if sif.modified != sif.created {
        lines.push(format!("  modified      {}", time(sif.modified)));
    }
    lines.push(format!("  id            {}", sif.id));
    match (sif.primary, &sif.file_system, &sif.problem) {
        (Some(id), Some(file_system), _) => {
            lines.push(format!(
                "  root          object {id}: {}",
                describe(file_system)
            ));
        }
        (_, _, Some(problem)) => lines.push(format!("  cannot be run: {problem}")),
        (_, _, None) => {}
    }
    if !sif.objects.is_empty() {
        lines.push(String::new());
        lines.extend(table(&sif.objects));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn describe(file_system: &FileSystem) -> String {
    format!(
        "squashfs, {}, blocks of {}, {} inodes, {}, made {}",
        file_system.compression,
        human(u64::from(file_system.block_size)),
        file_system.inodes,
        human(file_system.bytes_used),
        time(i64::from(file_system.created))
    )
}

/// The objects, one a line, numbers to the right.
pub(crate) fn table(objects: &[Object]) -> Vec<String> {
    const NUMBERS: [bool; 7] = [true, true, false, false, true, true, false];
    let mut rows =
        vec![["ID", "GROUP", "LINK", "TYPE", "OFFSET", "SIZE", "NAME"].map(str::to_owned)];
    rows.extend(objects.iter().map(cells));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let mut line = String::new();
        for ((cell, width), number) in row.iter().zip(widths).zip(NUMBERS) {
            line += "  ";
            line += &if number {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cells(object: &Object) -> [String; 7] {
    let dash = || "-".to_owned();
    let link = match (object.link.linked_object, object.link.linked_group) {
        (Some(id), _) => format!("object {id}"),
        (None, Some(group)) => format!("group {group}"),
        (None, None) => dash(),
    };
    let kind = match (&object.partition, &object.signed_by, &object.sbom_format) {
        (Some(part), _, _) => {
            format!("{} ({}, {})", object.kind, part.purpose, part.file_system)
        }
        (None, Some(key), _) => format!("{} (key {key})", object.kind),
        (None, None, Some(format)) => format!("{} ({format})", object.kind),
        (None, None, None) => object.kind.clone(),
    };
    [
        object.id.to_string(),
        object.group.map_or_else(dash, |group| group.to_string()),
        link,
        kind,
        object.offset.to_string(),
        object.size.to_string(),
        object.name.escape_debug().to_string(),
    ]
}

/// Seconds since 1970 as a date in UTC. Times before that are a builder's way to record none.
pub(crate) fn time(seconds: i64) -> String {
    // Beyond the year 9999 the number says more.
    if !(0..253_402_300_800).contains(&seconds) {
        return if seconds < 0 {
            "not recorded".to_owned()
        } else {
            format!("{seconds} s after 1970")
        };
    }
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that start in March, so that the leap day is the last: 146097 days are 400 of them.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + turn;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
            (-62_135_596_800, "not recorded"),
            (i64::MAX, "9223372036854775807 s after 1970"),
        ] {
            assert_eq!(time(seconds), date);
        }
    }
}
