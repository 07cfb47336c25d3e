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
/// A row of `view` holds every channel `width / (channels · n)` times, each time as `n` neighbouring records.
fn merge_channels<R: Record>(view: &View, parts: &[R], width: usize, totals: &mut [R]) {
    let n = view.records_per_channel();
    let once = totals.len() * n;
    let of_record = |record: usize| parts[record..].iter().step_by(width).copied().fold(R::default(), R::merge);
    for (channel, total) in totals.iter_mut().enumerate() {
        let records = (0..width / once).flat_map(|again| (0..n).map(move |i| again * once + channel * n + i));
        *total = records.map(of_record).fold(R::default(), R::merge);
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
        merge_channels(view, &records, width, totals);
    }
}

/// The totals of the whole channels from `channel` on: bit for bit those of [`Machine::reduce`].
pub(super) fn reduce_owned<R: Record>(
    view: &View,
    channel: usize,
    sum: impl Fn(usize, usize, &mut [R]),
    totals: &mut [R],
) {
    let first = channel * view.records_per_channel();
    let width = totals.len() * view.records_per_channel();
    let tile = view.tile();
    let mut records = vec![R::default(); width * view.parts()];
    for (part, records) in records.chunks_mut(width).enumerate() {
        for (i, into) in records.chunks_mut(tile).enumerate() {
            sum(part, first + i * tile, into);
        }
    }
    merge_channels(view, &records, width, totals);
}
