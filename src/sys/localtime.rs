//! The time zone of the machine.
#![allow(unsafe_code)]

/// How many seconds the local time is ahead of UTC at that time.
pub(crate) fn offset(seconds: i64) -> i64 {
    // Where this type has 32 bits, no clock goes beyond 2038.
    #[allow(clippy::cast_possible_truncation)]
    let time = seconds as libc::time_t;
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, which keeps neither (localtime_r(3)); all
    // zeroes is a valid tm. It reads the environment, which this program
    // never changes.
    let found = unsafe { libc::localtime_r(&raw const time, local.as_mut_ptr()) };
    if found.is_null() {
        return 0;
    }
    // SAFETY: it is initialized, with zeroes and then by localtime_r.
    let local = unsafe { local.assume_init() };
    // It is a long, of 32 or 64 bits.
    #[allow(clippy::useless_conversion)]
    local.tm_gmtoff.into()
}
