//! What a process is started with: its arguments and its environment, where the
//! kernel has put them.
//!
//! The arrays and strings on the first stack live as long as the process: nothing
//! moves or frees them.

use core::ffi::{CStr, c_char};
use core::ptr;

use oarlock_enter::order;

use crate::sys::{self, Errno};

/// The arguments, and the environment as it was at the start.
pub(crate) struct Arguments {
    list: &'static mut [*const c_char],
    environment: &'static [*const c_char],
}

impl Arguments {
    /// From the stack of a program that has just started, execve(2), elf(5): the
    /// number of arguments, as many pointers and a NULL, the environment's pointers
    /// and a NULL.
    ///
    /// # Safety
    /// `stack` is the stack pointer as it was at `_start`; called once.
    pub(crate) unsafe fn on(stack: *mut usize) -> Self {
        // SAFETY: the kernel has laid the stack out so, and nobody else uses it.
        unsafe {
            let count = *stack;
            let list = stack.add(1).cast::<*const c_char>();
            let environment = list.add(count + 1);
            let mut length = 0;
            while !(*environment.add(length)).is_null() {
                length += 1;
            }
            Self {
                list: core::slice::from_raw_parts_mut(list, count + 1),
                environment: core::slice::from_raw_parts(environment, length),
            }
        }
    }

    /// One argument.
    pub(crate) fn get(&self, place: usize) -> Option<&'static CStr> {
        self.list.get(place).copied().and_then(text)
    }

    /// Executes `path` with the arguments from that place on, the first of them
    /// replaced by the path, as Slurm does. Returns only where it cannot.
    pub(crate) fn execute_from(
        &mut self,
        place: usize,
        path: &CStr,
        environment: &Environment,
    ) -> Errno {
        let Some(rest) = self.list.get_mut(place..) else {
            return Errno::EINVAL;
        };
        if let Some(first) = rest.first_mut() {
            *first = path.as_ptr();
        }
        sys::execute(path, rest, environment.list)
    }
}

/// A string of the first stack.
fn text(pointer: *const c_char) -> Option<&'static CStr> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the kernel's pointers lead to strings that end with NUL and stay.
    Some(unsafe { CStr::from_ptr(pointer) })
}

/// The environment of the program to come; ends with NULL.
pub(crate) struct Environment {
    list: &'static mut [*const c_char],
    count: usize,
}

impl Environment {
    /// As it was at the start, with room for that many more variables.
    pub(crate) fn new(arguments: &Arguments, more: usize) -> Option<Self> {
        let had = arguments.environment;
        let list = sys::pointers(had.len() + more + 1)?;
        list.get_mut(..had.len())?.copy_from_slice(had);
        Some(Self {
            list,
            count: had.len(),
        })
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        let list = self.list.get(..self.count)?;
        list.iter().position(|entry| {
            text(*entry).is_some_and(|entry| {
                let entry = entry.to_bytes();
                entry.len() > name.len() && order::name(entry) == name
            })
        })
    }

    /// `NAME=value` of a variable.
    pub(crate) fn entry(&self, name: &[u8]) -> Option<&'static CStr> {
        self.list.get(self.place(name)?).copied().and_then(text)
    }

    /// Sets `NAME=value`.
    pub(crate) fn set(&mut self, entry: &'static CStr) {
        let place = self.place(order::name(entry.to_bytes()));
        let place = place.unwrap_or(self.count);
        // The last one is NULL and stays so.
        if place + 1 < self.list.len()
            && let Some(one) = self.list.get_mut(place)
        {
            *one = entry.as_ptr();
            self.count = self.count.max(place + 1);
        }
    }

    /// Removes a variable.
    pub(crate) fn unset(&mut self, name: &[u8]) {
        while let Some(place) = self.place(name) {
            self.list.copy_within(place + 1..self.count, place);
            self.count -= 1;
            if let Some(end) = self.list.get_mut(self.count) {
                *end = ptr::null();
            }
        }
    }
}
