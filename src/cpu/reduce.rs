//! Records per part merged into one per channel, in one order whoever does it.

use super::Machine;
use super::partition::View;

/// What a part of a channel is summed up to: a monoid, whose neutral element is the default.
pub(super) trait Record: Copy + Default + Send {
    /// Both together.
    fn merge(self, other: Self) -> Self;
}

/// Merges the parts of each record, then the records of each channel.
///
/// A row of `width` records holds every channel `width / (channels · n)` times, each time as `n` neighbouring records.
fn merge_channels<R: Record>(n: usize, parts: &mut [R], width: usize, totals: &mut [R]) {
    let (row, others) = parts.split_at_mut(width);
    for part in others.chunks(width) {
        for (total, record) in row.iter_mut().zip(part) {
            *total = total.merge(*record);
        }
    }
    totals.fill(R::default());
    for once in row.chunks(totals.len() * n) {
        for (total, records) in totals.iter_mut().zip(once.chunks(n)) {
            for record in records {
                *total = total.merge(*record);
            }
        }
    }
}

impl Machine {
    /// The totals of every channel; `sum(part, first, into)` finds the records of one part from `first` on.
    pub(super) fn reduce<R: Record>(
        &self,
        view: &View,
        sum: impl Fn(usize, usize, &mut [R]) + Send + Sync,
        totals: &mut [R],
    ) {
        let (width, tile) = (view.width(), view.tile());
        let mut records = vec![R::default(); width * view.parts()];
        let tasks = records.chunks_mut(width).enumerate().flat_map(|(part, records)| {
            records.chunks_mut(tile).enumerate().map(move |(i, into)| (part, i * tile, into))
        });
        self.each(tasks.collect(), |(part, first, into): (usize, usize, &mut [R])| sum(part, first, into));
        merge_channels(view.records_per_channel(), &mut records, width, totals);
    }
}
