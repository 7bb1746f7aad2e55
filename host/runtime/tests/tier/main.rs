//! The runtime against real libraries: good ones, bad files, and every way to die in a worker.

mod files;
mod leaks;
mod support;
mod worker;
