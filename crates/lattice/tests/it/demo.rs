//! `lattice demo`.

use crate::binary::run;

#[test]
fn the_demo_prints_one_object_in_which_everything_holds() {
    let ran = run(&["demo", "--json"]);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    let facts = ran.ok();
    assert_eq!(facts["ok"], true);
    for step in ["node", "transfers", "contract", "model", "inference", "solidity", "replay", "dag"] {
        assert!(facts[step].is_object(), "{step} in {facts}");
    }
    assert_eq!(facts["replay"]["matches"], true);
    assert_eq!((facts["inference"]["label"].as_u64(), facts["solidity"]["label"].as_u64()), (Some(7), Some(7)));
}

#[test]
fn the_demo_tells_its_story_to_people() {
    let ran = run(&["demo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for word in ["Transfers", "Solidity", "digits.onnx", "replay", "DAG", "All of it holds"] {
        assert!(ran.stdout.contains(word), "{word} in {ran:?}");
    }
}
