//! The metrics of the prefix cache on disk.

use std::fmt::Write as _;

use domain::runtime::DiskCacheCounts;

/// The metrics in Prometheus's text format; none without such a cache.
pub(crate) fn page(counts: Option<DiskCacheCounts>) -> String {
    let Some(counts) = counts else { return String::new() };
    let mut page = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, rows: &[(&str, u64)]| {
        let _ = writeln!(page, "# HELP tidegate_node_disk_cache_{name} {help}");
        let _ = writeln!(page, "# TYPE tidegate_node_disk_cache_{name} {kind}");
        for (label, value) in rows {
            let _ = writeln!(page, "tidegate_node_disk_cache_{name}{label} {value}");
        }
    };
    let found = [
        ("{found=\"disk\"}", counts.hits),
        ("{found=\"nowhere\"}", counts.absent),
        ("{found=\"not_worth_reading\"}", counts.passed_over),
    ];
    metric(
        "blocks_total",
        "counter",
        "Blocks of prompts that were not in memory, by where they were found.",
        &found,
    );
    let moved = [("{to=\"memory\"}", counts.read_bytes), ("{to=\"disk\"}", counts.written_bytes)];
    metric("bytes_total", "counter", "Bytes that were read from the disk, and written to it.", &moved);
    let rejected = "Files that were removed because they were short, changed, or not sealed by this node.";
    metric("rejected_total", "counter", rejected, &[("", counts.rejected)]);
    let dropped = "Times that a block was not written because too many others waited for the disk.";
    metric("dropped_total", "counter", dropped, &[("", counts.dropped)]);
    metric("blocks", "gauge", "Blocks on disk.", &[("", counts.stored_blocks)]);
    let sizes = [("{is=\"used\"}", counts.stored_bytes), ("{is=\"most\"}", counts.stored_bytes_max)];
    metric("bytes", "gauge", "What the blocks take on disk, and the most that they may.", &sizes);
    let writing = "1 while blocks are written, 0 after the disk was full or failed.";
    metric("writing", "gauge", writing, &[("", u64::from(counts.is_writing))]);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_metrics_of_a_cache_that_is_there() {
        assert_eq!(page(None), "");
        let page = page(Some(DiskCacheCounts { hits: 3, is_writing: true, ..DiskCacheCounts::default() }));
        assert!(page.contains("\ntidegate_node_disk_cache_blocks_total{found=\"disk\"} 3\n"), "{page}");
        assert!(page.ends_with("\ntidegate_node_disk_cache_writing 1\n"), "{page}");
    }
}
