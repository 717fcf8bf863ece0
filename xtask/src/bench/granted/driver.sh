# Four GPUs that are made up, and a driver with the names and the number of files that
# NVIDIA's 550 has for computing; what is in them is nothing.
set -e; umask 022
d=/opt/bench-driver; mkdir -p $d/lib; cd $d
echo 'int answer(void) { return 42; }' >answer.c
for name in libcuda libcudadebugger libnvidia-allocator libnvidia-cfg libnvidia-gpucomp libnvidia-ml \
    libnvidia-nscq libnvidia-nvvm libnvidia-opencl libnvidia-pkcs11-openssl3 libnvidia-ptxjitcompiler libnvidia-sandboxutils; do
    gcc -shared -fPIC -Wl,-soname,$name.so.1 -o lib/$name.so.550.54.15 answer.c
    ln -s $name.so.550.54.15 lib/$name.so.1
done
echo 'int main(void) { return 0; }' >smi.c
gcc -o /usr/bin/nvidia-smi smi.c
echo $d/lib >/etc/ld.so.conf.d/bench-driver.conf; ldconfig
for n in 0 1 2 3; do mknod -m 0666 /dev/nvidia$n c 240 $n; done
cp -p /etc/slurm/gres.conf /root/gres.kept
sed -i 's#/dev/fakegpu#/dev/nvidia#' /etc/slurm/gres.conf
