//! Which rows a training goes over: new ones, old ones again, as far as their contributors' terms allow it.

use std::collections::BTreeSet;

use blindsmith_identity::Terms;
use blindsmith_learn::Block;
use blindsmith_protocol::Id;

use super::Course;
use crate::cloud::Cloud;
use crate::error::RoundError;

impl<C: Cloud> Course<'_, '_, C> {
    /// Old uploads that a training over these new ones goes over: all, or drawn up to the share that the rules name.
    fn replayed(&self, new: &[u32]) -> Vec<Block> {
        let blocks = |i: &u32| self.blocks.training[*i as usize].iter().copied();
        let mut old: Vec<Block> = self.old.iter().flat_map(blocks).collect();
        let Some(share) = self.rules.replay.filter(|_| !new.is_empty() && !self.fixed) else {
            return old;
        };
        let rows = |blocks: &mut dyn Iterator<Item = Block>| blocks.map(|b| u64::from(b.rows)).sum::<u64>();
        let wanted = rows(&mut new.iter().flat_map(blocks)).saturating_mul(u64::from(share)) / 100;
        // In the order of a keyed hash, the same for each training of the round.
        old.sort_by_cached_key(|b| {
            let upload = self.uploads.of(b.upload).header.id();
            *self.draw.derive("block", &[&upload.0, &b.index.to_be_bytes()]).expose()
        });
        let mut sum = 0;
        old.retain(|b| {
            let take = sum < wanted;
            sum += u64::from(b.rows);
            take
        });
        old
    }

    /// The blocks of a training over these uploads and old ones, without those that their contributors' terms keep
    /// out, and the new ones among these.
    pub(super) fn allowed(&self, new: &[u32]) -> Result<(Vec<Block>, Vec<u32>), RoundError> {
        let mut out = BTreeSet::new();
        loop {
            let stays = |i: &u32| !out.contains(i) && !self.kept_aside(*i);
            let members: Vec<u32> = new.iter().copied().filter(stays).collect();
            let fresh = members.iter().flat_map(|i| self.blocks.training[*i as usize].iter().copied());
            let replayed = self.replayed(&members).into_iter().filter(|b| stays(&b.upload));
            let mut blocks: Vec<Block> = replayed.chain(fresh).collect();
            if self.fixed {
                // The order must not tell what counts as old.
                blocks.sort_by_key(|b| (b.upload, b.index));
            }
            let violated = self.violated(&blocks, &BTreeSet::new())?;
            if violated.is_empty() {
                return Ok((blocks, new.iter().copied().filter(|i| out.contains(i)).collect()));
            }
            out.extend(violated);
        }
    }

    /// Uploads whose rows do not count in a training over these blocks. On a fixed schedule what was set aside is asked for;
    /// terms that do not hold without it keep further uploads from counting.
    pub(super) fn silenced(&self, blocks: &[Block]) -> Result<BTreeSet<u32>, RoundError> {
        let mut silent = self.aside.clone();
        loop {
            let violated = self.violated(blocks, &silent)?;
            let before = silent.len();
            silent.extend(violated);
            if silent.len() == before {
                return Ok(silent);
            }
        }
    }

    /// Whether an upload is out of the round; on a fixed schedule it is asked for, and what comes is not looked at.
    fn kept_aside(&self, upload: u32) -> bool {
        self.aside.contains(&upload) && !self.fixed
    }

    /// Uploads whose contributors' terms a training over these blocks would not keep, if some are silent.
    fn violated(&self, blocks: &[Block], silent: &BTreeSet<u32>) -> Result<Vec<u32>, RoundError> {
        let uploads: BTreeSet<u32> =
            blocks.iter().map(|b| b.upload).filter(|i| !silent.contains(i)).collect();
        let terms = |i: u32| self.uploads.of(i).terms.as_ref();
        let bound: Vec<(u32, &Terms)> = uploads.iter().filter_map(|i| Some((*i, terms(*i)?))).collect();
        let (rows, contributors) = self.crowd(blocks, silent);
        let mut violated: BTreeSet<u32> = bound
            .iter()
            .filter(|(i, t)| {
                rows < t.version_rows || contributors < t.version_contributors || self.used_up(*i)
            })
            .map(|(i, _)| *i)
            .collect();
        if bound.iter().any(|(_, t)| t.step_rows > 0 || t.step_contributors > 0) {
            let sampler = self.sampler(blocks.to_vec(), self.recipe.batch_rows)?;
            let first = self.trainer.epochs();
            for batch in (first..first + u64::from(self.epochs)).flat_map(|epoch| sampler.epoch(epoch)) {
                let (rows, contributors) = self.crowd(&batch, silent);
                let here: BTreeSet<u32> =
                    batch.iter().map(|b| b.upload).filter(|i| !silent.contains(i)).collect();
                let violates = |t: &Terms| rows < t.step_rows || contributors < t.step_contributors;
                violated.extend(here.into_iter().filter(|i| terms(*i).is_some_and(violates)));
            }
        }
        Ok(violated.into_iter().collect())
    }

    /// Rows and contributors of blocks, without silent ones, the owner's, among which nothing hides from it, and newcomers',
    /// whom it may have invited for this round.
    fn crowd(&self, blocks: &[Block], silent: &BTreeSet<u32>) -> (u64, u32) {
        let contributor = |b: &Block| self.uploads.of(b.upload).header.contributor;
        let hides = |id: Id| id != self.owner && !self.newcomers.contains(&id);
        let others = blocks.iter().filter(|b| hides(contributor(b)) && !silent.contains(&b.upload));
        let rows = others.clone().map(|b| u64::from(b.rows)).sum();
        (rows, others.map(contributor).collect::<BTreeSet<_>>().len() as u32)
    }
}
