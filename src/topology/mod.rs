//! The rope and where it is cut: which thread does which step, as one table of plans.
#![forbid(unsafe_code)]

pub mod acceptor;
pub mod balance;
pub mod beyond;
pub mod coming;
pub mod conveyor;
pub mod faults;
pub mod keyring;
pub mod lanes;
pub mod orders;
pub mod plans;
pub mod quarantine;
pub mod segment;
pub mod serving;
pub mod spinner;
pub mod stations;
pub mod tell;
pub mod threads;
pub mod trip;
pub mod worker;
pub mod workshop;
