//! Which edges of the program an input took, where the build counts them; else nothing.
//!
//! `tests/run fuzz` builds with LLVM's counters (`sancov`, which stable compilers have too) and `--cfg fuzz_coverage`.
//! Each compiled module announces its counters, one byte for each edge, before the program starts.

/// Sets all counters to 0.
pub(crate) fn begin() {
    #[cfg(fuzz_coverage)]
    counters::clear();
}

/// What was taken since [`begin`], and about how often, each as one thing.
pub(crate) fn end() -> Vec<u64> {
    #[cfg(fuzz_coverage)]
    return counters::taken();
    #[cfg(not(fuzz_coverage))]
    Vec::new()
}

/// How many edges there are; `None` where they are not counted.
pub(crate) fn edges() -> Option<usize> {
    #[cfg(fuzz_coverage)]
    return Some(counters::all());
    #[cfg(not(fuzz_coverage))]
    None
}

#[cfg(fuzz_coverage)]
#[allow(unsafe_code, reason = "the counters are memory of LLVM's, announced by C functions")]
mod counters {
    use std::sync::Mutex;

    use crate::trace::hash;

    /// A module's counters, from its first byte; the numbers of bytes.
    static MODULES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

    /// Called by each module's constructor.
    #[unsafe(no_mangle)]
    extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
        let (start, stop) = (start.addr(), stop.addr());
        if let Ok(mut modules) = MODULES.lock()
            && stop > start
            && !modules.iter().any(|(known, _)| *known == start)
        {
            modules.push((start, stop - start));
        }
    }

    /// Called with it; the table tells where in the program each edge is.
    #[unsafe(no_mangle)]
    extern "C" fn __sanitizer_cov_pcs_init(_start: *const usize, _stop: *const usize) {}

    fn each(mut act: impl FnMut(usize, &mut [u8])) {
        let Ok(modules) = MODULES.lock() else { return };
        let mut before = 0;
        for (start, length) in modules.iter() {
            let first = std::ptr::with_exposed_provenance_mut::<u8>(*start);
            // SAFETY: the module announced these bytes as its counters, which live as long as the program. The targets
            // run one at a time and in this thread, so nothing else writes while the slice lives.
            let counters = unsafe { std::slice::from_raw_parts_mut(first, *length) };
            act(before, counters);
            before += length;
        }
    }

    pub(super) fn clear() {
        each(|_, counters| counters.fill(0));
    }

    pub(super) fn taken() -> Vec<u64> {
        let mut taken = Vec::new();
        each(|before, counters| {
            // Few of them are taken: eight that are not are passed over in one step.
            for (eight, counters) in counters.chunks(8).enumerate() {
                if <[u8; 8]>::try_from(counters).is_ok_and(|eight| u64::from_ne_bytes(eight) == 0) {
                    continue;
                }
                let at = before + 8 * eight;
                let counted = counters.iter().enumerate().filter(|(_, count)| **count != 0);
                taken.extend(counted.map(|(of_eight, count)| hash(&(at + of_eight, count.ilog2()))));
            }
        });
        taken
    }

    pub(super) fn all() -> usize {
        let mut all = 0;
        each(|_, counters| all += counters.len());
        all
    }
}
