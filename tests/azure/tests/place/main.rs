//! A place in Azure, from nothing to nothing: the program itself, given the commands that a user gives, against a control
//! plane that keeps the service's rules.

mod harness;
mod kills;
mod life;
mod refusals;
mod sign_in;
