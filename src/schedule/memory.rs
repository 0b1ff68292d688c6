//! Memory of intermediates: tensors whose lifetimes don't meet share a buffer.
//!
//! Sharing is by whole buffers, not ranges of one arena: WebGPU forbids a dispatch that reads one range of a buffer and
//! writes another.

use super::{Resource, Schedule};
use std::collections::HashMap;
use std::sync::Arc;

/// Where planned tensors live.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// Size of each buffer to make.
    pub buffers: Vec<u64>,
    /// Buffer of each planned tensor, in the schedule's order; `None` where no step uses it and nobody holds it.
    pub places: Vec<Option<usize>>,
    /// Bytes if every tensor had a buffer of its own.
    pub bytes_unshared: u64,
}

/// One planned tensor's needs.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    bytes: u64,
    /// First and last step that uses it.
    steps: Option<(usize, usize)>,
    /// Somebody outside the schedule holds it and may read it after a run.
    held: bool,
}

pub(super) fn lay_out(schedule: &Schedule) -> Layout {
    let mut uses: HashMap<*const _, (usize, usize, usize)> = HashMap::new();
    for (index, step) in schedule.steps.iter().enumerate() {
        for bound in &step.bindings {
            if let Resource::Tensor(tensor) = &bound.resource {
                let entry = uses.entry(Arc::as_ptr(&tensor.storage)).or_insert((index, index, 0));
                entry.1 = index;
                entry.2 += 1;
            }
        }
    }
    let lifetimes = schedule.planned.iter().map(|tensor| {
        let used = uses.get(&Arc::as_ptr(&tensor.storage));
        // One reference is the schedule's own, one is each binding's; any other is somebody's hand.
        let ours = 1 + used.map_or(0, |u| u.2);
        Lifetime {
            bytes: tensor.padded_bytes(),
            steps: used.map(|u| (u.0, u.1)),
            held: Arc::strong_count(&tensor.storage) > ours,
        }
    });
    assign(&lifetimes.collect::<Vec<_>>())
}

/// Greedy over the steps: the best-fitting free buffer, else the largest free one grown, else a new one.
fn assign(lifetimes: &[Lifetime]) -> Layout {
    let mut layout = Layout { places: vec![None; lifetimes.len()], ..Layout::default() };
    let mut free_from: Vec<usize> = Vec::new();
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_unstable_by_key(|&index| (lifetimes[index].steps.map_or(usize::MAX, |s| s.0), index));
    for index in order {
        let Lifetime { bytes, steps, held } = lifetimes[index];
        if !held && steps.is_none() {
            continue;
        }
        layout.bytes_unshared += bytes;
        let (first, last) = steps.unwrap_or((usize::MAX, usize::MAX));
        let free = (0..layout.buffers.len()).filter(|&b| !held && free_from[b] <= first);
        let place = free.min_by_key(|&b| {
            let size = layout.buffers[b];
            (size < bytes, size.abs_diff(bytes))
        });
        let place = place.unwrap_or_else(|| {
            layout.buffers.push(0);
            free_from.push(0);
            layout.buffers.len() - 1
        });
        layout.buffers[place] = layout.buffers[place].max(bytes);
        free_from[place] = if held { usize::MAX } else { last.saturating_add(1) };
        layout.places[index] = Some(place);
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(bytes: u64, first: usize, last: usize) -> Lifetime {
        Lifetime { bytes, steps: Some((first, last)), held: false }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let layout =
            assign(&[temporary(100, 0, 1), temporary(60, 1, 2), temporary(80, 2, 3), temporary(40, 3, 4)]);
        assert_eq!(layout.places, [Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(layout.buffers, [100, 60]);
        assert_eq!(layout.bytes_unshared, 280);
    }

    #[test]
    fn a_held_tensor_shares_with_nobody() {
        let held = Lifetime { held: true, ..temporary(100, 0, 0) };
        let layout = assign(&[held, temporary(10, 1, 1), Lifetime { held: true, ..temporary(10, 2, 2) }]);
        assert_eq!(layout.places, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn tensors_of_one_step_never_share() {
        let all: Vec<_> = (0..5).map(|i| temporary(16 * (i + 1), 3, 3)).collect();
        let mut places = assign(&all).places;
        places.sort();
        places.dedup();
        assert_eq!(places.len(), 5);
    }

    #[test]
    fn an_unused_tensor_gets_none() {
        let unused = Lifetime { bytes: 64, steps: None, held: false };
        assert_eq!(assign(&[unused]), Layout { places: vec![None], ..Layout::default() });
    }
}
