//! The rewards service: a catalogue, and redemptions that survive a crash
