//! Tokens: what they allow, what is refused, and what their file holds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;

const NOW: Time = Time(1_700_000_000_000);
const SEED: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

fn wanted<'a>(name: &'a str, scopes: &'a [Scope], expires: Option<&'a str>) -> Wanted<'a> {
    Wanted { name, scopes, prefix: None, expires }
}

fn store() -> (tempfile::TempDir, TokenStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = TokenStore::open(folder.path()).unwrap();
    (folder, store)
}

#[test]
fn a_token_lets_its_bearer_do_what_its_scopes_say_and_no_more() {
    let (_folder, store) = store();
    let token = store.add(&wanted("press", &[Scope::Publish, Scope::FlowsRead], None), NOW, &SEED).unwrap();
    let grant = store.verify(&token, NOW).unwrap();
    assert_eq!(grant.name, "press");
    assert!(grant.allows(Scope::Publish) && grant.allows(Scope::FlowsRead));
    assert!(!grant.allows(Scope::FlowsWrite) && !grant.allows(Scope::Admin) && !grant.allows(Scope::Follow));
}

#[test]
fn the_scope_admin_implies_all() {
    let (_folder, store) = store();
    let token = store.add(&wanted("boss", &[Scope::Admin], None), NOW, &SEED).unwrap();
    let grant = store.verify(&token, NOW).unwrap();
    assert!(Scope::ALL.into_iter().all(|scope| grant.allows(scope)));
}

#[test]
fn what_is_no_token_of_ours_is_refused() {
    let (_folder, store) = store();
    assert_eq!(store.verify("", NOW), None);
    let token = store.add(&wanted("press", &[Scope::Publish], None), NOW, &SEED).unwrap();
    assert_eq!(store.verify("", NOW), None);
    assert_eq!(store.verify(&token[..token.len() - 1], NOW), None);
    assert_eq!(store.verify(&token_of(&OTHER).unwrap(), NOW), None);
    assert_eq!(store.verify(&hash(&token), NOW), None, "the hash in the file is no token");
}

#[test]
fn each_of_several_tokens_is_known_by_its_own_name() {
    let (_folder, store) = store();
    let first = store.add(&wanted("one", &[Scope::Publish], None), NOW, &SEED).unwrap();
    let second = store.add(&wanted("two", &[Scope::Follow], None), NOW, &OTHER).unwrap();
    assert_eq!(store.verify(&first, NOW).unwrap().name, "one");
    assert_eq!(store.verify(&second, NOW).unwrap().name, "two");
}

#[test]
fn a_token_ends_when_it_was_to_end() {
    let (_folder, store) = store();
    let token = store.add(&wanted("press", &[Scope::Publish], Some("30d")), NOW, &SEED).unwrap();
    let end = NOW.plus(Duration::from_secs(30 * 86_400));
    assert!(store.verify(&token, end.minus(Duration::from_millis(1))).is_some());
    assert_eq!(store.verify(&token, end), None);
    assert_eq!(store.list()[0].expires, Some(end.to_string()));
}

#[test]
fn a_revoked_token_is_refused_at_once_and_after_a_restart() {
    let (folder, store) = store();
    let token = store.add(&wanted("press", &[Scope::Publish], None), NOW, &SEED).unwrap();
    assert!(TokenStore::open(folder.path()).unwrap().verify(&token, NOW).is_some());
    store.revoke("press").unwrap();
    assert_eq!(store.verify(&token, NOW), None);
    assert_eq!(TokenStore::open(folder.path()).unwrap().verify(&token, NOW), None);
    assert!(matches!(store.revoke("press"), Err(TokenError::Unknown { .. })));
}

#[test]
fn the_file_holds_hashes_and_nobody_else_reads_it() {
    let (folder, store) = store();
    let token = store.add(&wanted("press", &[Scope::Publish], None), NOW, &SEED).unwrap();
    let path = file(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&token) && !text.contains(&token[PREFIX.len()..]) && text.contains(&hash(&token)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = TokenStore::open(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

#[test]
fn two_processes_that_add_lose_none_of_the_two() {
    let (folder, first) = store();
    let second = TokenStore::open(folder.path()).unwrap();
    let one = first.add(&wanted("one", &[Scope::Publish], None), NOW, &SEED).unwrap();
    let two = second.add(&wanted("two", &[Scope::Publish], None), NOW, &OTHER).unwrap();
    let third = TokenStore::open(folder.path()).unwrap();
    assert!(third.verify(&one, NOW).is_some() && third.verify(&two, NOW).is_some());
}

#[test]
fn the_administrators_token_comes_from_its_file_and_cannot_be_made_or_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let token = token_of(&SEED).unwrap();
    private::create(&admin_file(folder.path()), format!("{token}\n").as_bytes()).unwrap();
    let store = TokenStore::open(folder.path()).unwrap();
    assert!(store.verify(&token, NOW).unwrap().allows(Scope::Admin));
    assert!(store.list().is_empty());
    assert!(matches!(store.add(&wanted("admin", &[Scope::Admin], None), NOW, &OTHER), Err(TokenError::Admin { .. })));
    assert!(matches!(store.revoke("admin"), Err(TokenError::Admin { .. })));
}

#[test]
fn what_cannot_be_a_token_is_refused_and_changes_nothing() {
    let (folder, store) = store();
    let add = |name: &str, scopes: &[Scope], expires, seed: &[u8]| {
        store.add(&wanted(name, scopes, expires), NOW, seed).unwrap_err()
    };
    for name in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
        assert!(matches!(add(name, &[Scope::Publish], None, &SEED), TokenError::Name { .. }), "{name}");
    }
    assert!(matches!(add("a", &[], None, &SEED), TokenError::NoScopes));
    for expires in ["soon", "0s", "30", "-1d"] {
        assert!(matches!(add("a", &[Scope::Publish], Some(expires), &SEED), TokenError::Expiry { .. }), "{expires}");
    }
    assert!(matches!(add("a", &[Scope::Publish], None, &SEED[..16]), TokenError::Seed { bytes: 16 }));
    assert!(!file(folder.path()).exists());
    store.add(&wanted("a", &[Scope::Publish], None), NOW, &SEED).unwrap();
    assert!(matches!(store.add(&wanted("a", &[Scope::Publish], None), NOW, &OTHER), Err(TokenError::Taken { .. })));
}

#[test]
fn scopes_are_words_and_a_slip_is_told_the_nearest() {
    for scope in Scope::ALL {
        assert_eq!(scope.word().parse::<Scope>().unwrap(), scope);
        assert_eq!(serde_json::to_value(scope).unwrap(), scope.word());
    }
    let slip = "flows:wirte".parse::<Scope>().unwrap_err().to_string();
    assert!(slip.contains("did you mean flows:write?"), "{slip}");
}

#[test]
fn a_file_that_holds_something_else_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    private::create(&file(folder.path()), b"{").unwrap();
    assert!(matches!(TokenStore::open(folder.path()), Err(TokenError::Unreadable { .. })));
    assert_eq!(fs::read(file(folder.path())).unwrap(), b"{");
}

#[test]
fn a_prefix_limits_what_reads_and_writes_the_store_and_is_refused_for_anything_else() {
    let (folder, store) = store();
    let add = |name, scopes: &[Scope], prefix| store.add(&Wanted { name, scopes, prefix, expires: None }, NOW, &SEED);
    for scopes in [&[Scope::Publish][..], &[Scope::StoreRead, Scope::Admin]] {
        assert!(matches!(add("a", scopes, Some("shop/")), Err(TokenError::NothingToLimit)));
    }
    for prefix in ["/", "a//b", "a/../b", "a b"] {
        assert!(matches!(add("a", &[Scope::StoreRead], Some(prefix)), Err(TokenError::Prefix { .. })), "{prefix}");
    }
    let token = add("shop", &[Scope::StoreRead], Some("shop")).unwrap();
    let again = TokenStore::open(folder.path()).unwrap();
    assert_eq!(again.verify(&token, NOW).unwrap().prefix, "shop/".parse().unwrap());
    assert_eq!(again.list()[0].prefix, Some("shop/".parse().unwrap()));
}
