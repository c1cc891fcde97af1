//! The driver daemon.

use ashmem::driver::address;
use ashmem_driver::ask::Asked;

use super::Finding;

pub fn daemon() -> Finding {
    const FEATURE: &str = "driver daemon";
    let candidates = address::candidates();
    let Some(first) = candidates.first() else {
        return Finding::limited(
            FEATURE,
            format!(
                "it is not asked for, as {} says so: each process reclaims for itself",
                address::VARIABLE
            ),
            format!("unset {}, so that the oldest pages of all processes go first", address::VARIABLE),
        );
    };
    let asked = Asked::find(&candidates).and_then(|asked| {
        let Some(asked) = asked else { return Ok(None) };
        let path = asked.path().display().to_string();
        Ok(Some((path, asked.snapshot()?)))
    });
    match asked {
        Ok(Some((path, snapshot))) => Finding::ok(
            FEATURE,
            format!("process {} at {path}, regions: {}", snapshot.process, snapshot.regions.len()),
        ),
        Ok(None) => Finding::missing(
            FEATURE,
            format!("nobody listens at {}: each process reclaims for itself", first.display()),
            "nothing needs it; ashmem daemon, started by the user or by systemd, takes the oldest pages of all processes first",
        ),
        Err(error) => Finding::limited(
            FEATURE,
            format!("each process may have to reclaim for itself: {}", crate::with_causes(&error)),
            "restart it, in the version of this program",
        ),
    }
}
