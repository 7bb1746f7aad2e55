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

/// Sees to it that memory of at least a mebibyte goes back as it is freed.
///
/// Each start of a plugin reads its whole library. glibc would keep such a block in the arena of the thread that read
/// it, for each of its arenas: some hundred mebibytes after some restarts. To be called once, before the first thread.
#[allow(unsafe_code, reason = "one call into libc that has no safe wrapper")]
pub fn return_large_blocks() {
    const LARGE: libc::c_int = 1024 * 1024;
    // SAFETY: takes two numbers, and may be called at any time; it concerns later allocations only. A refusal leaves
    // the default, which costs memory and nothing else.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}
