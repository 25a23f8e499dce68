//! `lattice asm`: text to code and back, and what it says when it cannot.

use crate::binary::{run, run_with_stdin, write};

#[test]
fn text_and_code_turn_into_each_other() {
    let program = b".container\n  PUSH 0 ; four operands\n  PUSH 0\n  PUSH 0\n  PUSH 0\n  TENSOR_OP\n  STOP\n";
    let ran = run_with_stdin(&["asm"], program);
    assert_eq!((ran.code, ran.stdout.trim()), (0, "0xefa1015f5f5f5ff000"));
    let listing = run_with_stdin(&["asm", "-d"], ran.stdout.as_bytes());
    assert!(listing.stdout.starts_with(".container\n") && listing.stdout.contains("TENSOR_OP"), "{listing:?}");
    assert_eq!(run_with_stdin(&["asm"], listing.stdout.as_bytes()).stdout, ran.stdout);
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "program.asm", program);
    assert_eq!(run(&["asm", &file, "--json"]).ok()["code"], "0xefa1015f5f5f5ff000");
    let init = run(&["asm", "--init", &file]);
    assert!(init.stdout.trim().ends_with("efa1015f5f5f5ff000") && init.stdout.starts_with("0x62000009"), "{init:?}");
}

#[test]
fn mistakes_are_named_with_their_line() {
    run_with_stdin(&["asm"], b"STOP\nMODEL_EXEC\n").fails(1, &["line 2", ".container"]);
    run_with_stdin(&["asm", "-d"], b"0xzz").fails(1, &["no hex"]);
    run(&["asm", "/nowhere/at/all"]).fails(1, &["/nowhere/at/all"]);
    assert_eq!(run(&["asm", "-d", "--init"]).code, 2);
}
