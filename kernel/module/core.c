// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: loading, and when the hooks stand.
 *
 * Loading finds every symbol, or refuses. The hooks are set with the first mount
 * and taken back after the last mount and region are gone: a machine that has the
 * module but no mount pays nothing.
 */
#include <linux/cpufeature.h>
#include <linux/ftrace.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/mshare.h>
#include <linux/mutex.h>
#include <linux/utsname.h>
#include <linux/workqueue.h>

#include "core.h"

static bool force;
module_param(force, bool, 0444);
MODULE_PARM_DESC(force, "load on a kernel that nobody has looked at");

static void mshare_unhook(struct work_struct *work);

static DEFINE_MUTEX(mshare_core_lock);	/* serialises setting and clearing */
static bool mshare_hooked;
static atomic_t mshare_users;
static DECLARE_WORK(mshare_unhook_work, mshare_unhook);

/* Before a mount can be made. */
int mshare_core_get(void)
{
	int err = 0;

	mutex_lock(&mshare_core_lock);
	if (!mshare_hooked) {
		err = mshare_hooks_set();
		if (!err) {
			err = mshare_selftest();
			if (err)
				mshare_hooks_clear();
		}
		mshare_hooked = !err;
	}
	if (!err)
		atomic_inc(&mshare_users);
	mutex_unlock(&mshare_core_lock);
	return err;
}

static void mshare_unhook(struct work_struct *work)
{
	mutex_lock(&mshare_core_lock);
	if (mshare_hooked && !atomic_read(&mshare_users)) {
		mshare_hooks_clear();
		mshare_hooked = false;
	}
	mutex_unlock(&mshare_core_lock);
}

/* A mount and its regions are gone. The caller may be in a hook: do not wait. */
void mshare_core_put(void)
{
	if (atomic_dec_and_test(&mshare_users))
		queue_work(system_unbound_wq, &mshare_unhook_work);
}

static ssize_t hooks_show(struct module_attribute *attribute,
			  struct module_kobject *module, char *buf)
{
	ssize_t length;

	mutex_lock(&mshare_core_lock);
	length = mshare_hooks_show(buf, PAGE_SIZE);
	mutex_unlock(&mshare_core_lock);
	return length;
}

static struct module_attribute mshare_hooks_attribute = __ATTR_RO_MODE(hooks, 0444);

/*
 * The functions that are stood in for have the prototypes that the build has
 * checked; what they mean, people have looked at, in these kernels.
 */
static bool mshare_known_kernel(const char *release)
{
	return !strncmp(release, "6.12.", 5) && !strstr(release, "-rt") &&
		(strstr(release, "+deb12") || strstr(release, "+deb13"));
}

int mshare_core_init(void)
{
	const char *release = init_utsname()->release;
	int err;

	if (cpu_feature_enabled(X86_FEATURE_XENPV)) {
		pr_err("not in a Xen PV guest: its page tables are the hypervisor's\n");
		return -ENODEV;
	}
	if (!mshare_known_kernel(release)) {
		if (!force) {
			pr_err("%s is not a kernel that this was made for; force=1 loads it all the same\n",
			       release);
			return -ENODEV;
		}
		pr_warn("loaded by force on %s\n", release);
	}
	err = mshare_symbols_init();
	if (err)
		return err;
	return sysfs_create_file(&THIS_MODULE->mkobj.kobj,
				 &mshare_hooks_attribute.attr);
}

/* No mount is left. */
void mshare_core_exit(void)
{
	/* Who is still in a hook may let go of the last region there */
	mutex_lock(&mshare_core_lock);
	if (mshare_hooked)
		mshare_hooks_clear();
	mshare_hooked = false;
	mutex_unlock(&mshare_core_lock);
	flush_work(&mshare_unhook_work);
	sysfs_remove_file(&THIS_MODULE->mkobj.kobj,
			  &mshare_hooks_attribute.attr);
}
