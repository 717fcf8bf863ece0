/* Expands SPANK_PLUGIN for the Slurm that this plugin is built against.
 *
 * A Rust cdylib exports no symbol of a C object, so the macro's symbols get
 * names of their own here, and ffi.rs exports Slurm's names with these values. */
#include <slurm/spank.h>

#define plugin_name oarlock_plugin_name
#define plugin_type oarlock_plugin_type
#define plugin_version oarlock_plugin_version
#define spank_plugin_version oarlock_spank_plugin_version

SPANK_PLUGIN(oarlock, 1)
