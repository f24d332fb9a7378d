//! What blocks and heads say of a stretch of time: everything that is asked of it from one reading of directories.

use std::{ops::Range, sync::Arc};

use super::{
    moment::{Moment, backend, guarded},
    pieces::{Columns, Guard, Pieces, Wanted, add_extent, add_statistics, covers, extent_of},
    quarantine::Damage,
    tables,
};
use crate::model::{AgentNo, ReadError, SeriesExtent, SeriesNo, Spread, Summary, Visit, Window};

/// What is asked of a stretch; answers are added to what is there.
#[derive(Default)]
pub(super) struct Question<'a> {
    /// How much there is of every series of the agent, ascending by number.
    pub(super) extents: Option<&'a mut Vec<SeriesExtent>>,
    /// Series whose statistics are asked for, sorted.
    pub(super) wanted: &'a [SeriesNo],
    /// Theirs.
    pub(super) summaries: &'a mut [Summary],
    /// Spreads that are asked for, sorted by number. They have nothing yet that comes after the stretch.
    pub(super) spreads: &'a mut [(SeriesNo, Spread)],
}

/// Sorted, each once.
pub(super) fn sorted(series: impl Iterator<Item = SeriesNo>) -> Vec<SeriesNo> {
    let mut sorted: Vec<SeriesNo> = series.collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

impl Question<'_> {
    /// Adds what a cluster of pieces has in the stretch. Its samples are decoded once, if they are needed at all.
    fn add(
        &mut self,
        pieces: &mut Pieces<'_>,
        cluster: Range<usize>,
        stretch: Window,
        columns: &mut Columns,
    ) {
        let piece = pieces.all[cluster.start];
        let summary = self.wanted.binary_search(&piece.no).ok();
        let spread = self.spreads.binary_search_by_key(&piece.no, |s| s.0).ok();
        let is_single = cluster.len() == 1;
        let is_whole = is_single && covers(stretch, &piece);
        // What the directory says is certain for a piece that lies in the stretch alone and as a whole.
        let counted = pieces
            .entry(&piece)
            .filter(|entry| is_single && entry.stale == 0);
        let statistics = (is_whole && summary.is_some())
            .then(|| pieces.statistics(&piece))
            .flatten();
        let is_decoded = spread.is_some()
            || (summary.is_some() && statistics.is_none())
            || (self.extents.is_some() && counted.is_none());
        if is_decoded {
            columns.clear();
            pieces.decode(cluster, columns);
        }
        if let Some(extents) = self.extents.as_deref_mut() {
            let extent = match counted {
                Some(entry) if is_whole => Some((entry.first, entry.last, entry.count as u64)),
                Some(_) if !is_decoded => pieces.count_within(&piece, stretch),
                Some(_) => {
                    let times = &columns.times[columns.within(stretch)];
                    let ends = times.first().zip(times.last());
                    ends.map(|(first, last)| (*first, *last, times.len() as u64))
                }
                None => extent_of(columns, stretch),
            };
            if let Some((first, last, samples)) = extent {
                add_extent(extents, piece.no, first, last, samples);
            }
        }
        if let Some(at) = summary {
            let summary = &mut self.summaries[at];
            if let Some((entry, statistics)) = statistics {
                add_statistics(summary, &entry, &statistics);
            } else {
                let within = columns.within(stretch);
                let times = &columns.times[within.clone()];
                summary.extend(times, &columns.values[within]);
            }
        }
        if let Some(at) = spread {
            let within = columns.within(stretch);
            self.spreads[at]
                .1
                .extend(&columns.times[within.clone()], &columns.values[within]);
        }
    }
}

impl Moment {
    /// Answers a question from blocks and heads; returns what had to be left out.
    pub(super) fn read_stretch(
        &self,
        agent: AgentNo,
        stretch: Window,
        question: &mut Question<'_>,
    ) -> Result<Vec<Damage>, ReadError> {
        let wanted = match &question.extents {
            Some(_) => Wanted::All,
            None => Wanted::These(question.wanted),
        };
        self.with_pieces(agent, wanted, stretch, |pieces| {
            let mut columns = Columns::default();
            let mut at = 0;
            while at < pieces.all.len() {
                let cluster = at..at + pieces.cluster(at);
                at = cluster.end;
                question.add(pieces, cluster, stretch, &mut columns);
            }
            pieces.left_out.clone()
        })
    }

    /// Appends how much there is of every series, ascending by number, and what the answer lacks.
    pub(super) fn add_extents(
        &self,
        agent: AgentNo,
        stretch: Window,
        extents: &mut Vec<SeriesExtent>,
        lacks: &mut Vec<Damage>,
    ) -> Result<(), ReadError> {
        let mut question = Question {
            extents: Some(extents),
            ..Question::default()
        };
        lacks.extend(self.read_stretch(agent, stretch, &mut question)?);
        Ok(())
    }

    /// Hands each series that has samples in the stretch to `visit`, once.
    pub(super) fn scan_stretch(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        let wanted = sorted(series.iter().copied());
        self.with_pieces(agent, Wanted::These(&wanted), window, |pieces| {
            let mut columns = Columns::default();
            let mut at = 0;
            while at < pieces.all.len() {
                let no = pieces.all[at].no;
                columns.clear();
                while pieces.all.get(at).is_some_and(|p| p.no == no) {
                    let cluster = at..at + pieces.cluster(at);
                    at = cluster.end;
                    pieces.decode(cluster, &mut columns);
                }
                let within = columns.within(window);
                if !within.is_empty() {
                    visit(no, &columns.times[within.clone()], &columns.values[within]);
                }
            }
        })
    }

    /// Blocks of an agent's groups that may hold samples of the window, ascending by key. Other groups have
    /// none of the series that are asked for, and are not read.
    fn guards(
        &self,
        agent: AgentNo,
        groups: &[u32],
        window: Window,
    ) -> Result<Vec<Guard>, ReadError> {
        let table = self.blocks()?;
        let mut guards = Vec::new();
        let Some((from, to)) = Self::days(&table, window)? else {
            return Ok(guards);
        };
        for day in from..=to {
            for group in groups {
                let range = tables::blocks_of_group(day, agent, *group, window.to);
                for item in table.range(range).map_err(|e| backend(&e))? {
                    let (key, value) = item.map_err(|e| backend(&e))?;
                    guards.push((key.value(), value));
                }
            }
        }
        Ok(guards)
    }

    /// Runs `read` over the pieces of an agent's series in a window, and notes what it had to leave out.
    fn with_pieces<T>(
        &self,
        agent: AgentNo,
        wanted: Wanted<'_>,
        window: Window,
        read: impl FnOnce(&mut Pieces<'_>) -> T,
    ) -> Result<T, ReadError> {
        guarded(|| {
            let Some(table) = self.catalog.agent(agent).map(|a| &a.series) else {
                return Ok(read(&mut Pieces::default()));
            };
            let slots: Vec<usize> = match wanted {
                Wanted::All | Wanted::Without(_) => (0..table.len()).collect(),
                Wanted::These(list) => list.iter().filter_map(|no| table.slot(*no)).collect(),
            };
            let mut groups: Vec<u32> = slots.iter().filter_map(|slot| table.group(*slot)).collect();
            groups.sort_unstable();
            groups.dedup();
            let guards = self.guards(agent, &groups, window)?;
            let head = self.heads.agent(agent).map(Arc::as_ref);
            let slots = slots
                .iter()
                .filter_map(|slot| Some((*slot, table.no(*slot)?)));
            let mut pieces = Pieces::gather(&guards, head, slots, wanted, window)?;
            let answer = read(&mut pieces);
            self.leave_out(&pieces.left_out);
            Ok(answer)
        })
    }
}
