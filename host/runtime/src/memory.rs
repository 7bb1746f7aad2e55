//! Gives memory that was freed back to the system: glibc keeps its high-water mark for good.

/// Gives back every whole page that is free, also in the midst of the heap.
///
/// Takes some milliseconds where much was freed, in which threads that allocate may wait: for after a crowd has left,
/// not for every connection.
#[allow(unsafe_code, reason = "one call into libc that has no safe wrapper")]
pub fn give_back() {
    // SAFETY: may be called at any time from any thread; it touches only what is free.
    unsafe { libc::malloc_trim(0) };
}
