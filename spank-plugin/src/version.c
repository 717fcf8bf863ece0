/* Expands SPANK_PLUGIN for the Slurm that this plugin is built against.
 *
 * A Rust cdylib exports no symbol of a C object, so the macro's symbols get
 * names of their own here, and ffi.rs exports Slurm's names with these values. */
#include <stddef.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

#define plugin_name oarlock_plugin_name
#define plugin_type oarlock_plugin_type
#define plugin_version oarlock_plugin_version
#define spank_plugin_version oarlock_spank_plugin_version

SPANK_PLUGIN(oarlock, 1)

/* Where slurmstepd keeps TaskProlog: in its copy of slurm.conf, whose form is a part
 * of Slurm's public interface. ffi.rs compares the size before it looks. */
const size_t oarlock_slurm_conf_size = sizeof(slurm_conf_t);
const size_t oarlock_task_prolog_offset = offsetof(slurm_conf_t, task_prolog);
