//! x
/// x
pub struct Behaviour {
    pub run: String,
    pub from: From,
}
/// x
pub enum From {
    Anyone,
    Following,
    Followers,
    Listed(Vec<String>),
}
impl std::fmt::Display for From {
    fn fmt(&self, o: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(o, "x")
    }
}
