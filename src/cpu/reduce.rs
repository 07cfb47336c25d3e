//! Records per part merged into one per channel, in one order whoever does it.

use super::Machine;
use super::partition::View;

/// What a part of a channel is summed up to: a monoid, whose neutral element is the default.
pub(super) trait Record: Copy + Default + Send {
    /// Both together.
    fn merge(self, other: Self) -> Self;
}

/// Merges the parts of each record, then the records of each channel: a row of them holds every channel
/// `width / (channels · n)` times, each time as `n` neighbouring records.
fn merge_channels<R: Record>(mut records: Vec<R>, width: usize, channels: usize, n: usize) -> Vec<R> {
    let (row, others) = records.split_at_mut(width);
    for part in others.chunks(width) {
        for (total, record) in row.iter_mut().zip(part) {
            *total = total.merge(*record);
        }
    }
    if width == channels {
        records.truncate(width);
        return records;
    }
    let mut totals = vec![R::default(); channels];
    for once in row.chunks(channels * n) {
        for (total, records) in totals.iter_mut().zip(once.chunks(n)) {
            for record in records {
                *total = total.merge(*record);
            }
        }
    }
    totals
}

impl Machine {
    /// The totals of every channel; `sum(part, first, into)` finds the records of one part from `first` on.
    pub(super) fn reduce<R: Record>(
        &self,
        view: &View,
        channels: usize,
        sum: impl Fn(usize, usize, &mut [R]) + Send + Sync,
    ) -> Vec<R> {
        let (width, tile) = (view.width(), view.tile());
        let mut records = vec![R::default(); width * view.parts()];
        let tasks = records.chunks_mut(width).enumerate().flat_map(|(part, records)| {
            records.chunks_mut(tile).enumerate().map(move |(i, into)| (part, i * tile, into))
        });
        self.each(tasks.collect(), |(part, first, into): (usize, usize, &mut [R])| sum(part, first, into));
        merge_channels(records, width, channels, view.records_per_channel())
    }
}
