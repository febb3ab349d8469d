//! Components that no compiler makes: they lie to the canonical ABI, forge handles, and run before they are asked.
//!
//! Unless a test says otherwise, the fault is in `on-request`; the rest of the component is a room that does nothing.

use dormouse::guest::LoadError;
use dormouse::limits::COMPONENT_BYTES;
use dormouse_test::{Request, TestRoom};

use crate::wat_components::Module;

impl Module {
    /// Its request fails for this reason, again and again, and no other event does.
    fn assert_fails_with(self, reason: &str) {
        let mut room = TestRoom::new(self.component());
        let ana = room.join("ana");
        for _ in 0..3 {
            let failure = room.try_request(Request::default()).expect_err("the turn should fail").to_string();
            assert!(failure.contains(reason), "{failure}");
            room.send(&ana, "still here?");
        }
    }

    /// It is not taken at all.
    fn assert_refused(&self, reason: &str) {
        let refused = load(self.component()).expect_err("it should be refused").to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

fn load(wasm: &[u8]) -> Result<(), LoadError> {
    crate::engine().room("hostile.wasm", wasm).map(drop)
}

fn module_with_request(request: &'static str) -> Module {
    Module { request, ..Module::default() }
}

#[test]
fn a_component_in_text_format_can_be_a_room() {
    // The base from which all others here differ: an answer with the status 200 and an empty body.
    let mut room = TestRoom::new(module_with_request("(i32.store16 (i32.const 1028) (i32.const 200))").component());
    let ana = room.join("ana");
    room.send(&ana, "hello");
    assert_eq!(room.request(Request::default()).status, 200);
    room.leave(&ana);
}

#[test]
fn an_invalid_list_or_pointer_ends_the_turn() {
    for claim in [
        "(call $put-many (i32.const 0) (i32.const 0x7fffffff) (i32.const 64))",
        "(call $put-many (i32.const 0xffffffff) (i32.const 0xffffffff) (i32.const 64))",
        "(call $put-many (i32.const 1) (i32.const 1) (i32.const 64))",
        "(call $get-many (i32.const 0) (i32.const 100000000) (i32.const 64))",
        "(call $put (i32.const 0) (i32.const 0xffffffff) (i32.const 0) (i32.const 1) (i32.const 64))",
        "(call $put (i32.const 1048575) (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 64))",
        "(call $get (i32.const 0) (i32.const 1) (i32.const 0xfffffffc))",
        "(call $get (i32.const 0) (i32.const 1) (i32.const 65))",
    ] {
        module_with_request(claim).assert_fails_with("pointer");
    }
}

#[test]
fn nested_lists_cannot_exhaust_the_memory_of_the_host() {
    // 90,000 entries, each of which is the same 64 KiB: gigabytes, if they were taken.
    Module {
        request: r#"
            (local $at i32)
            (local.set $at (i32.const 131072))
            (loop $next
                (i32.store offset=4 (local.get $at) (i32.const 65536))
                (i32.store offset=12 (local.get $at) (i32.const 65536))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (br_if $next (i32.lt_u (local.get $at) (i32.const 1571072))))
            (call $put-many (i32.const 131072) (i32.const 90000) (i32.const 64))"#,
        fields: "(memory (export \"memory\") 32)",
        ..Module::default()
    }
    .assert_fails_with("too much data");
}

#[test]
fn text_that_is_not_utf8_ends_the_turn() {
    module_with_request(
        "(i32.store (i32.const 0) (i32.const -1)) (call $log (i32.const 1) (i32.const 0) (i32.const 4))",
    )
    .assert_fails_with("utf-8");
    module_with_request("(call $log (i32.const 1) (i32.const 0) (i32.const 0x40000000))").assert_fails_with("pointer");
    module_with_request("(call $log (i32.const 77) (i32.const 0) (i32.const 0))").assert_fails_with("discriminant");
}

#[test]
fn a_malformed_result_ends_the_turn() {
    for lie in [
        // Neither `ok` nor `err`.
        "(i32.store8 (i32.const 1024) (i32.const 7))",
        // Headers, then a body, that claim gigabytes.
        "(i32.store (i32.const 1036) (i32.const 0x7fffffff))",
        "(i32.store (i32.const 1040) (i32.const 8)) (i32.store (i32.const 1044) (i32.const 0x7fffffff))",
        // Nowhere at all.
        "(return (i32.const 0xfffffff0))",
        "(return (i32.const 1025))",
    ] {
        module_with_request(lie).assert_fails_with("it trapped");
    }
}

#[test]
fn a_bad_realloc_ends_the_turn() {
    // The host hands over the path of the request before anything else happens.
    let reallocs = [
        ("(i32.const 0xfffffff0)", "realloc"),
        ("unreachable", "unreachable"),
        ("(loop $spin (br $spin)) unreachable", "used its 1s of CPU"),
        // Nothing may be called while the host hands something over.
        ("(drop (call $now)) (i32.const 65536)", "cannot leave component instance"),
    ];
    for (realloc, reason) in reallocs {
        let component = Module { realloc, ..Module::default() }.component();
        let mut room = TestRoom::new(component);
        let request = Request { path: "/somewhere".into(), ..Request::default() };
        for _ in 0..2 {
            let failure = room.try_request(request.clone()).expect_err("the turn should fail").to_string();
            assert!(failure.contains(reason), "{realloc}: {failure}");
        }
    }
}

#[test]
fn an_invalid_handle_ends_the_turn() {
    for forged in [
        "(drop (call $id (i32.const 0)))",
        "(drop (call $id (i32.const 12345)))",
        "(drop (call $id (i32.const -1)))",
        "(call $drop (i32.const 3))",
    ] {
        module_with_request(forged).assert_fails_with("handle");
    }
    // Given once, and let go twice; then used after that.
    let given = r#"
        (local $handle i32)
        (call $socket (i64.const 1) (i32.const 64))
        (local.set $handle (i32.load (i32.const 68)))
        (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
        (call $drop (local.get $handle))"#;
    for (again, reason) in
        [("(call $drop (local.get $handle))", "handle"), ("(drop (call $id (local.get $handle)))", "handle")]
    {
        module_with_request(format!("{given} {again}").leak()).assert_fails_with(reason);
    }
}

#[test]
fn a_start_function_that_never_ends_uses_up_its_cpu() {
    let fields = "(memory (export \"memory\") 16) (func $spin (loop $again (br $again))) (start $spin)";
    let mut room = TestRoom::new(Module { fields, ..Module::default() }.component());
    for _ in 0..2 {
        assert_eq!(room.try_request(Request::default()).unwrap_err().to_string(), "it used its 1s of CPU");
    }
}

#[test]
fn a_trap_in_the_start_function_is_reported() {
    let fields = "(memory (export \"memory\") 16) (func $fall unreachable) (start $fall)";
    let mut room = TestRoom::new(Module { fields, ..Module::default() }.component());
    let failure = room.try_request(Request::default()).unwrap_err().to_string();
    assert!(failure.starts_with("it trapped:") && failure.contains("unreachable"), "{failure}");
}

#[test]
fn tables_grow_up_to_their_limit() {
    Module {
        fields: "(memory (export \"memory\") 16) (table $table 1 funcref)",
        request: r#"
            (loop $grow (br_if $grow (i32.ge_s (table.grow $table (ref.null func) (i32.const 100)) (i32.const 0))))
            unreachable"#,
        ..Module::default()
    }
    .assert_fails_with("it used its 20000 elements of tables");
}

#[test]
fn memory_grows_up_to_its_limit_and_the_room_may_go_on() {
    let request = r#"
        (loop $grow (br_if $grow (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
        (if (i32.ne (memory.size) (i32.const 1024)) (then unreachable))
        (i32.store16 (i32.const 1028) (i32.const 200))"#;
    let mut room = TestRoom::new(module_with_request(request).component());
    assert_eq!(room.request(Request::default()).status, 200);
}

#[test]
fn memories_and_tables_above_the_limits_are_refused_at_load() {
    let fields = |fields| Module { fields, ..Module::default() };
    fields("(memory (export \"memory\") 1025)").assert_refused("memory");
    fields("(memory (export \"memory\") 16) (table 20001 funcref)").assert_refused("table");
    let tables = "(table 1 funcref)".repeat(5);
    fields(format!("(memory (export \"memory\") 16) {tables}").leak()).assert_refused("table");
}

#[test]
fn unneeded_wasm_features_are_refused_at_load() {
    for (what, fields) in [
        (
            "gc",
            "(type $a (sub (func))) (type $b (sub $a (func)))
            (func (param funcref) (result i32) (ref.test (ref $b) (local.get 0)))",
        ),
        ("function references", "(type $a (func)) (func (param (ref $a)) (call_ref $a (local.get 0)))"),
        ("exceptions", "(tag $t) (func (throw $t))"),
        ("threads", "(memory 1 1 shared)"),
        ("atomics", "(func (result i32) (i32.atomic.load (i32.const 0)))"),
        ("memory64", "(memory i64 1)"),
        ("relaxed SIMD", "(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))"),
    ] {
        let fields = format!("(memory (export \"memory\") 16) {fields}").leak();
        let refused = load(Module { fields, ..Module::default() }.component());
        assert!(matches!(refused, Err(LoadError::Compile { .. })), "{what}: {refused:?}");
    }
}

#[test]
fn a_component_too_large_to_compile_is_refused() {
    let refused = load(&vec![0; COMPONENT_BYTES + 1]).unwrap_err().to_string();
    assert!(refused.contains("hostile.wasm has 67108865 B"), "{refused}");
}

#[test]
fn a_call_for_randomness_is_limited_in_size() {
    module_with_request("(call $random (i64.const -1) (i32.const 64))").assert_fails_with("exceeds limit");
    module_with_request("(call $random (i64.const 1048577) (i32.const 64))").assert_fails_with("exceeds limit");
}

/// 90,000 entries with keys of three bytes, again and again, until the host says that it is too much. What a record
/// costs beside its bytes counts, so that this is soon.
#[test]
fn tiny_writes_count_with_their_overhead() {
    let request = r#"
        (local $at i32) (local $calls i32)
        (local.set $at (i32.const 65536))
        (loop $next
            (i32.store offset=4 (local.get $at) (i32.const 3))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 1505536))))
        (loop $again
            (call $put-many (i32.const 65536) (i32.const 90000) (i32.const 64))
            (local.set $calls (i32.add (local.get $calls) (i32.const 1)))
            (br_if $again (i32.eqz (i32.load8_u (i32.const 64)))))
        (i32.store16 (i32.const 1028) (i32.add (i32.const 200) (local.get $calls)))"#;
    let fields = "(memory (export \"memory\") 32)";
    let mut room = TestRoom::new(Module { request, fields, ..Module::default() }.component());
    assert_eq!(room.request(Request::default()).status, 203, "200, and the call that was refused");
}
