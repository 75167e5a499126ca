//! What the property tests and the fuzz targets share: machines made of ordinary memory, and what a result has to
//! look like, said in the plainest way there is.

pub(crate) mod address_plan;
pub(crate) mod address_space;
pub(crate) mod bundle_header;
pub(crate) mod firmware_area;
pub(crate) mod kernel_file;
pub(crate) mod machine;
pub(crate) mod memory_map;
pub(crate) mod multiboot_info;
pub(crate) mod note_file;
pub(crate) mod page_walk;
