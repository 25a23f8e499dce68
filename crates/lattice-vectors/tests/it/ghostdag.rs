//! Every field of every block of the given DAGs.

use crate::support::{assert_good, vectors};

#[test]
fn the_given_dags_are_coloured_as_they_are_labelled() {
    let Some(folder) = vectors("ghostdag") else { return };
    let report = lattice_vectors::ghostdag::run(&folder);
    assert_good(&report);
    // Six labelled DAGs and two replays of Kaspa's, six of its attack DAGs, four DAGs of many reds.
    assert!(report.passed() >= 18, "{} DAGs", report.passed());
}
