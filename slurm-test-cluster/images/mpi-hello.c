/*
 * Says that MPI works: every rank adds its rank + 1 to a sum over all ranks
 * and prints one line, `hello rank R of N on HOST sum S`. In a world of N the
 * sum is N(N+1)/2; ranks that never found each other print "of 1" and sum 1.
 */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	char host[MPI_MAX_PROCESSOR_NAME];
	int rank, size, length, mine, sum;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	MPI_Get_processor_name(host, &length);
	mine = rank + 1;
	MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	printf("hello rank %d of %d on %s sum %d\n", rank, size, host, sum);
	fflush(stdout);
	MPI_Finalize();
	return 0;
}
