//! The one call that no safe crate offers. Nothing else may be unsafe in this program.
#![allow(unsafe_code)]

use std::io;

/// What the kernel knows of its own clock (adjtimex(2), read only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelClock {
    /// `STA_UNSYNC` is not set.
    pub(crate) synchronised: bool,
    /// Offset still being corrected, microseconds.
    pub(crate) offset_micros: i64,
    /// Estimated upper bound of the error, microseconds.
    pub(crate) max_error_micros: i64,
}

/// Asks the kernel for the state of its clock. Needs no privilege and changes nothing.
pub(crate) fn kernel_clock() -> io::Result<KernelClock> {
    // SAFETY: `timex` is plain old data, for which all zeroes is a value; `modes` 0 only reads.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let nanoseconds = timex.status & libc::STA_NANO != 0;
    Ok(KernelClock {
        synchronised: timex.status & libc::STA_UNSYNC == 0,
        offset_micros: if nanoseconds { timex.offset / 1000 } else { timex.offset },
        max_error_micros: timex.maxerror,
    })
}
